"""quantize, evaluate and generate with real workers: the keys that scripts read, and what is refused."""

import json
import os
import re
from pathlib import Path

import pytest

from fqconsole import paths
from store import Store

QUANTIZE_KEYS = {"run_id", "checkpoint", "bits_per_weight", "bytes", "seconds", "matrices"}
MATRIX_KEYS = {"name", "shape", "bits", "group_size", "statistic", "relative_error", "bytes"}
GENERATE_KEYS = {"run_id", "text", "token_ids", "ttft_ms", "prefill_tok_s", "decode_tok_s", "peak_bytes"}
VERIFY_KEYS = {"checkpoint", "sound", "files", "bytes", "matrices", "remade", "source", "faults", "seconds"}
EVALUATE_KEYS = {
    "run_id",
    "perplexity",
    "reference_perplexity",
    "kl_divergence",
    "top1_agreement",
    "tokens",
}


def statuses() -> list[str]:
    """Of all runs, the oldest first."""
    with Store.open(paths.store_file()) as store:
        return [row.status for row in store.list_runs(sort="id asc")]


def test_quantize_evaluate_and_generate_by_run_id(fq, tmp_path):
    made = fq("quantize", "demo", "--bits", "4", "--out", tmp_path / "small", "--json")
    assert made.code == 0
    document = made.json
    assert document.keys() >= QUANTIZE_KEYS
    assert document["checkpoint"] == str(tmp_path / "small")
    assert document["matrices"]
    assert all(matrix.keys() >= MATRIX_KEYS for matrix in document["matrices"])
    assert (tmp_path / "small" / "config.json").is_file()

    lost = fq("evaluate", document["run_id"], "--max-tokens", "600", "--json")
    assert lost.code == 0
    assert lost.json.keys() >= EVALUATE_KEYS
    assert lost.json["reference"] == "demo"
    assert 0 < lost.json["top1_agreement"] <= 1

    told = fq(
        "generate", document["run_id"], "--prompt", "Once", "--greedy", "--max-new-tokens", "6", "--json"
    )
    assert told.code == 0
    assert told.json.keys() >= GENERATE_KEYS
    assert len(told.json["token_ids"]) <= 6
    assert statuses() == ["done", "done", "done"]

    text = fq("generate", tmp_path / "small", "--prompt", "Once", "--greedy", "--max-new-tokens", "6")
    assert text.out == told.json["text"] + "\n"
    assert "tok/s" in text.err

    checked = fq("verify", document["run_id"], "--all", "--json")
    assert (checked.code, checked.json["sound"], checked.json["source"]) == (0, True, "unchanged")
    assert checked.json.keys() >= VERIFY_KEYS
    assert len(checked.json["remade"]) > len(document["matrices"])
    assert len(statuses()) == 4  # verifying leaves no run

    again = fq("quantize", "demo", "--out", tmp_path / "small")
    assert again.code == 2
    assert "exists already" in again.err
    assert fq("quantize", document["run_id"]).code == 2
    assert len(statuses()) == 4


def test_a_checkpoint_that_is_not_sound_is_told_with_exit_code_1(fq, tmp_path):
    out = tmp_path / "small"
    assert fq("quantize", "demo", "--out", out, "--quiet").code == 0
    sound = fq("verify", out)
    assert sound.code == 0
    assert sound.out.startswith(f"{out} is sound\n")
    weights = bytearray((out / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (out / "model.safetensors").write_bytes(weights)
    said = fq("verify", out)
    assert said.code == 1
    assert "is not sound" in said.out
    assert "✗ model.safetensors has another checksum" in said.out
    assert fq("verify", "demo").code == 2
    assert fq("verify", out, "--all", "--source", tmp_path / "gone").code == 2


def test_events_are_the_workers_lines_and_nothing_else(fq, tmp_path):
    said = fq("quantize", "demo", "--group-size", "128", "--out", tmp_path / "small", "--events", "--quiet")
    events = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 0
    assert said.err == ""
    assert events[0]["type"] == "WorkerStarted"
    assert events[-1] == events[-1] | {"type": "JobDone", "status": "done"}
    assert {"PlanReady", "MatrixDone", "CheckpointWritten"} <= {event["type"] for event in events}
    plan = next(event["plan"] for event in events if event["type"] == "PlanReady")
    assert (plan["granularity"], plan["group_size"]) == ("fixed", 128)


def test_two_models_side_by_side_get_the_same_prompt_and_seed(fq, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    said = fq("generate", "demo", "--compare", "demo-outliers", "--prompt", "Once", "--max-new-tokens", "12")
    assert said.code == 0
    assert all(len(line) <= 60 and "│" in line for line in said.out.splitlines())
    with Store.open(paths.store_file()) as store:
        first, second = (store.run(row.run_id).generation for row in store.list_runs())
    assert first is not None
    assert second is not None
    # demo-outliers is demo rescaled by powers of two: the same function.
    assert first.output == second.output
    assert first.seed == second.seed is not None


def test_a_prompt_from_stdin(fq, monkeypatch):
    read, write = os.pipe()
    os.write(write, b"Once upon a time\n")
    os.close(write)
    with os.fdopen(read) as piped:
        monkeypatch.setattr("sys.stdin", piped)
        said = fq("generate", "demo", "--prompt", "-", "--greedy", "--max-new-tokens", "2", "--json")
    assert said.code == 0
    with Store.open(paths.store_file()) as store:
        generation = store.run(said.json["run_id"]).generation
    assert generation is not None
    assert generation.prompt == "Once upon a time"


def test_a_prompt_longer_than_the_context_fails_in_one_sentence(fq):
    said = fq("generate", "demo", "--prompt", "so " * 3000, "--greedy")
    assert said.code == 1
    assert "context" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err
    assert statuses() == ["failed"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["quantize", "demo", "--bits", "5"], "5-bit"),
        (["quantize", "demo", "--granularity", "coarse"], "coarse"),
        (["quantize"], "MODEL is missing"),
        (["quantize", "--resume", "/nowhere"], "No unfinished run"),
        (["quantize", "--resume", "r9999"], "r9999"),
        (["evaluate", "demo"], "--reference"),
        (["evaluate", "demo", "--reference", "demo", "--text", "/nowhere.txt"], "/nowhere.txt"),
        (["generate", "demo", "--prompt", ""], "empty"),
        (["generate", "demo", "--top-p", "0"], "top_p"),
        (["generate", "demo", "--messages", "/nowhere.json"], "/nowhere.json"),
        (["generate", "demo", "--context", "100000"], "context"),
        (["generate", "demo", "--raw", "--system", "Be brief."], "--raw"),
    ],
)
def test_what_can_be_known_before_starts_no_worker_and_leaves_no_run(fq, arguments, word):
    said = fq(*arguments)
    assert said.code == 2
    assert word in said.err
    assert len(said.err.splitlines()) == 1
    assert statuses() == []


def test_a_place_that_is_no_folder_is_refused(fq, tmp_path):
    (tmp_path / "file").write_text("")
    said = fq("quantize", "demo", "--out", tmp_path / "file" / "small")
    assert said.code == 2
    assert "is no folder" in said.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_can_not_be_written_is_refused(fq, tmp_path):
    tmp_path.chmod(0o500)
    said = fq("quantize", "demo", "--out", tmp_path / "small")
    tmp_path.chmod(0o700)
    assert said.code == 2
    assert "can't be written" in said.err


def test_a_place_that_the_worker_can_not_write_fails_in_one_line(fq):
    """For root too: nobody makes a folder in /proc."""
    said = fq("quantize", "demo", "--out", "/proc/small", "--quiet")
    assert said.code in (1, 2)
    assert len(said.err.splitlines()) == 1
    assert "/proc" in said.err
    assert "Traceback" not in said.err
    assert statuses() in ([], ["failed"])


def test_what_does_not_fit_is_exit_code_3_unless_forced(fq, monkeypatch):
    monkeypatch.setattr("fqconsole.fit.capacity.host_memory", lambda: (2**30, 2**20))
    arguments = ("--device", "cpu", "--json")
    for verb in (["quantize", "demo"], ["generate", "demo", "--max-new-tokens", "2"]):
        said = fq(*verb, *arguments)
        assert said.code == 3
        assert "--force" in said.err
        assert said.out == ""
    assert statuses() == []
    assert (
        fq("generate", "demo", "--prompt", "Once", "--max-new-tokens", "2", *arguments, "--force").code == 0
    )


def test_a_model_whose_weights_are_cut_off_is_refused(fq, tmp_path):
    source = Path(fq("models", "show", "demo", "--json").json["path"])
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in source.iterdir():
        if file.is_file():
            (broken / file.name).write_bytes(
                file.read_bytes()[: 1_000_000 if file.suffix == ".safetensors" else None]
            )
    for verb in ("fit", "quantize", "generate"):
        said = fq(verb, broken)
        assert said.code == 2
        assert "model.safetensors" in said.err
        assert "Traceback" not in said.err


def test_a_failed_job_names_the_log_only_when_the_operator_can_do_nothing_else(fq, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "torch.py").write_text("raise RuntimeError('no torch today')\n")
    said = fq("quantize", "demo", "--quiet")
    assert said.code == 1
    assert "no torch today" in said.err
    log = re.search(r"(/\S+\.log)", said.err)
    assert log is not None
    assert "Traceback" in Path(log[1].rstrip(".")).read_text()
    assert statuses() == ["failed"]
