"""`fqconsole runs`: list, show, compare, export, note, delete, path."""

import csv
import io
import json

import pytest

from fqconsole import paths
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import EvaluationDone, GenerationDone, JobDone, JobFailed
from fqconsole.jobs.recorder import Recorder
from fqconsole.jobs.runs import begin_evaluate, begin_generate
from store import Store

HOSTILE = "Once\x1b]0;owned\x07 upon\u202e a time"


@pytest.fixture
def recorded(home, tmp_path):
    """r0001 evaluated, r0002 generated something hostile, r0003 failed."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    with Store.open(paths.store_file()) as store:
        recorder = Recorder(store)
        for perplexity in (3.5, 4.5):
            request = begin_evaluate(store, checkpoint_path=folder, reference_path=folder, model_id="demo")
            numbers = {"reference_perplexity": 3.4, "kl_divergence": 0.02, "top1_agreement": 0.9}
            recorder.feed(
                EvaluationDone(
                    t=1.0, run_id=request.run_id, perplexity=perplexity, tokens=100, seconds=1.0, **numbers
                )
            )
            recorder.feed(JobDone(t=2.0, run_id=request.run_id, status="done"))
        send = begin_generate(store, model_path=folder, sampling=Sampling(), prompt=HOSTILE, model_id="demo")
        recorder.feed(
            GenerationDone(
                t=1.0,
                run_id=send.run_id,
                text=HOSTILE,
                token_ids=(1, 2),
                prompt_tokens=3,
                ttft_ms=10.0,
                prefill_tok_s=300.0,
                decode_tok_s=None,
                peak_bytes=1000,
                stop_reason="end",
            )
        )
        recorder.feed(JobDone(t=2.0, run_id=send.run_id, status="done"))
        failed = begin_evaluate(store, checkpoint_path=folder, reference_path=folder, model_id="demo")
        recorder.feed(
            JobFailed(
                t=1.0, run_id=failed.run_id, code="x", what="It broke.", next_step="Mend it.", exit_code=1
            )
        )
    return folder


def test_nothing_yet_says_what_to_type(fq):
    said = fq("runs")
    assert said.code == 0
    assert said.out == ""
    assert "fqconsole quantize demo" in said.err
    assert fq("runs", "list", "--json").json == {"runs": []}


def test_the_latest_run_comes_first_with_the_keys_that_scripts_read(fq, recorded):
    rows = fq("runs", "list", "--json").json["runs"]
    assert [row["run_id"] for row in rows] == ["r0004", "r0003", "r0002", "r0001"]
    assert {"run_id", "kind", "status", "model", "started"} <= set(rows[0])
    assert [row["status"] for row in rows] == ["failed", "done", "done", "done"]


def test_terms_filter_and_columns_sort(fq, recorded):
    rows = fq("runs", "list", "kind:evaluate", "status:done", "--sort", "perplexity desc", "--json").json[
        "runs"
    ]
    assert [row["perplexity"] for row in rows] == [4.5, 3.5]


def test_a_filter_that_can_not_be_read_is_exit_code_2(fq, recorded):
    said = fq("runs", "list", "perplexty<3")
    assert said.code == 2
    assert "perplexity" in said.err


@pytest.mark.parametrize("verb", ["show", "compare", "export", "path", "delete"])
def test_a_run_that_is_not_there_is_exit_code_2(fq, recorded, verb):
    said = fq("runs", verb, "r0999")
    assert said.code == 2
    assert "r0999" in said.err


def test_generated_text_can_not_drive_the_terminal(fq, recorded):
    for said in (fq("runs", "show", "r0003"), fq("runs", "show", "r0003", "--json")):
        assert said.code == 0
        assert not set("\x1b\x07\u202e") & set(said.out)
    assert said.json["run"]["generation"]["output"] == HOSTILE


def test_a_failed_run_shows_why(fq, recorded):
    assert "It broke. Mend it." in fq("runs", "show", "r0004").out


def test_a_comparison_shows_what_differs(fq, recorded):
    said = fq("runs", "compare", "r0001", "r0002")
    assert "perplexity" in said.out
    assert "worse" in said.out
    rows = fq("runs", "compare", "r0001", "r0002", "--json").json["rows"]
    assert "perplexity" in [row["name"] for row in rows]


def test_each_format_of_an_export(fq, recorded, tmp_path):
    assert [
        run["row"]["run_id"]
        for run in json.loads(fq("runs", "export", "r0001", "--format", "json").out)["runs"]
    ]
    table = list(csv.DictReader(io.StringIO(fq("runs", "export", "r0001", "r0002", "--format", "csv").out)))
    assert [row["run_id"] for row in table] == ["r0001", "r0002"]
    assert "| r0001 |" in fq("runs", "export", "r0001").out
    page = tmp_path / "page.html"
    assert fq("runs", "export", "r0001", "r0002", "--format", "html", "--out", page).code == 0
    assert page.read_text().lower().startswith("<!doctype html>")


def test_an_export_replaces_no_file_by_accident(fq, recorded, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert fq("runs", "export", "r0001", "--format", "html", "--out", page).code == 2
    assert page.read_text() == "mine"
    assert fq("runs", "export", "r0001", "--format", "html", "--out", page, "--force").code == 0
    assert fq("runs", "export", "r0001", "--format", "pdf").code == 2


def test_an_export_into_a_folder_that_is_not_there_is_one_line(fq, recorded, tmp_path):
    said = fq("runs", "export", "r0001", "--out", tmp_path / "no" / "page.md")
    assert said.code == 1
    assert len(said.err.splitlines()) == 1
    assert str(tmp_path / "no") in said.err


def test_notes_tags_and_baseline(fq, recorded):
    assert fq("runs", "note", "r0001", "the best so far", "--tag", "paper", "--baseline").code == 0
    row = fq("runs", "list", "tag:paper", "--json").json["runs"][0]
    assert (row["note"], row["tags"], row["baseline"]) == ("the best so far", ["paper"], True)
    assert fq("runs", "note", "r0001").code == 2


def test_deleting_asks_and_keeps_the_checkpoint(fq, recorded):
    refused = fq("runs", "delete", "r0001")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert fq("runs", "delete", "r0001", "r0002", "--yes").code == 0
    assert len(fq("runs", "list", "--json").json["runs"]) == 2
    assert recorded.is_dir()


def test_the_path_of_a_run_is_the_whole_output(fq, recorded):
    assert fq("runs", "path", "r0001").out == f"{recorded}\n"


def test_a_backup_is_a_runs_file_of_its_own(fq, recorded, tmp_path):
    assert fq("runs", "backup", tmp_path / "copy.db").code == 0
    with Store.open(tmp_path / "copy.db") as copy:
        assert copy.count_runs() == 4


def test_a_run_whose_console_died_is_interrupted(fq, home):
    with Store.open(paths.store_file()) as store:
        store.begin_run("quantize", "demo", options={}, host={}, pid=2**22 - 1, pid_started=1.0)
    assert fq("runs", "list", "--json").json["runs"][0]["status"] == "interrupted"


def test_a_filter_chooses_what_is_exported(fq, recorded):
    rows = list(csv.DictReader(io.StringIO(fq("runs", "export", "--format", "csv", "--where", "ppl>=3").out)))
    assert [row["run_id"] for row in rows] == ["r0002", "r0001"]
    result = fq("runs", "export", "--where", "ppl>99")
    assert result.code == 2 and "No run matches." in result.err
    assert "There is nothing to export." in fq("runs", "export").err


def test_pruning_says_what_goes_and_asks(fq, recorded):
    with Store.open(paths.store_file()) as store:
        store.add_gpu_samples("r0003", [{"t": 1.0, "gpu": 0, "util": 5.0}])
    assert "0 GPU readings" in fq("runs", "prune", "--dry-run").out
    result = fq("runs", "prune", "--keep-samples", "0h", "--keep-texts", "0h")
    assert result.code == 2 and "Give --yes." in result.err
    result = fq("runs", "prune", "--keep-samples", "0h", "--keep-texts", "0h", "--yes")
    assert result.out.startswith("1 GPU readings and the texts of 1 runs are gone")
    found = fq("runs", "prune", "--keep-samples", "0h", "--json").json
    assert (found["samples"], found["texts"]) == (0, 0)
    assert fq("runs", "prune", "--keep-samples", "soon").code == 2
