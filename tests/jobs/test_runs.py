"""Runs begin with a row and a request that agree, and runs whose console died are found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fqconsole import paths
from fqconsole.generation.options import Sampling
from fqconsole.jobs import runs
from fqconsole.jobs.messages import StartDownload, StartEvaluate, StartQuantize
from store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened


def quantized_folder(folder, *, groups=(64,), source="demo"):
    """A folder that says of itself that it is quantized; no weights in it."""
    folder.mkdir(parents=True)
    schemes = {
        f"group_{place}": {"weights": {"num_bits": 4, "group_size": size}, "targets": ["Linear"]}
        for place, size in enumerate(groups)
    }
    config = {
        "model_type": "llama",
        "quantization_config": {"quant_method": "compressed-tensors", "config_groups": schemes},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "fqconsole_manifest.json").write_text(json.dumps({"source": {"model": source}}))
    return folder


def test_a_quantize_run_and_its_request_agree(store, tmp_path):
    request = runs.begin_quantize(
        store,
        model_id="demo",
        model_path=tmp_path,
        out=tmp_path / "out",
        bits=4,
        granularity="fixed",
        group_size=None,
        device="cpu",
        predicted={"total": 100, "weights": 60},
    )
    assert request == StartQuantize(
        run_id="r0001",
        model_id="demo",
        model_path=str(tmp_path),
        out=str(tmp_path / "out"),
        bits=4,
        granularity="fixed",
        group_size=None,
        device="cpu",
    )
    run = store.run("r0001")
    assert (run.row.kind, run.row.status, run.row.model) == ("quantize", "running", "demo")
    assert (run.row.bits, run.row.group, run.row.granularity) == (4, "channel", "fixed")
    assert run.options["threshold"] == 0.7
    assert run.row.predicted_bytes == 100
    assert [(term.term, term.predicted) for term in run.memory] == [("total", 100), ("weights", 60)]


def test_runs_on_a_checkpoint_are_children_of_the_run_that_made_it(store, tmp_path):
    out = quantized_folder(tmp_path / "out")
    made = runs.begin_quantize(
        store, model_id="Qwen/Qwen3-8B", model_path="/m", out=out, bits=4, revision="9c"
    )
    evaluate = runs.begin_evaluate(store, checkpoint_path=out, reference_path="/m", max_tokens=64)
    # The same folder by another name is still the same folder.
    (tmp_path / "link").symlink_to(out)
    send = runs.begin_generate(
        store, model_path=tmp_path / "link", sampling=Sampling(temperature=0), prompt="Once"
    )
    assert evaluate == StartEvaluate(
        run_id="r0002", checkpoint_path=str(out), reference_path="/m", max_tokens=64
    )
    for run_id in ("r0002", send.run_id):
        row = store.run(run_id).row
        assert (row.parent, row.model, row.revision) == (made.run_id, "Qwen/Qwen3-8B", "9c")
        assert (row.bits, row.group, row.path) == (4, "64", str(out))
    assert store.run(made.run_id).children == ("r0002", "r0003")


def test_a_checkpoint_made_elsewhere_says_itself_what_it_is(store, tmp_path):
    folder = quantized_folder(tmp_path / "copied", groups=(64, 32), source="google/gemma-3-1b-it")
    send = runs.begin_generate(store, model_path=folder, sampling=Sampling(), prompt="x", model_id="ignored")
    row = store.run(send.run_id).row
    assert (row.model, row.bits, row.group, row.parent) == ("google/gemma-3-1b-it", 4, None, None)


def test_a_16_bit_folder_counts_as_16_bits_and_has_the_name_it_was_called_by(store, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    send = runs.begin_generate(store, model_path=tmp_path, sampling=Sampling(), prompt="x", model_id="demo")
    assert (store.run(send.run_id).row.model, store.run(send.run_id).row.bits) == ("demo", 16)


def test_a_folder_that_cannot_be_read_still_begins_a_run(store, tmp_path):
    send = runs.begin_generate(store, model_path=tmp_path / "none", sampling=Sampling(), prompt="x")
    assert (store.run(send.run_id).row.model, store.run(send.run_id).row.bits) == ("none", None)


def test_a_prompt_is_stored_once_and_not_in_the_options(store, tmp_path):
    for _ in range(2):
        send = runs.begin_generate(store, model_path=tmp_path, sampling=Sampling(seed=7), prompt="Tell me.")
    run = store.run(send.run_id)
    assert run.generation.prompt == "Tell me."
    assert run.generation.sampling["seed"] == 7
    assert "Tell me." not in json.dumps(run.options)
    assert len(store._database.rows("SELECT * FROM texts")) == 1


def test_a_lone_question_is_the_same_prompt_with_and_without_a_template(store, tmp_path):
    plain = runs.begin_generate(store, model_path=tmp_path, sampling=Sampling(), prompt="Why?")
    asked = runs.begin_generate(store, model_path=tmp_path, sampling=Sampling(), messages=[("user", "Why?")])
    talk = runs.begin_generate(
        store, model_path=tmp_path, sampling=Sampling(), messages=[("system", "Brief."), ("user", "Why?")]
    )
    found = [store.run(send.run_id).generation for send in (plain, asked, talk)]
    assert found[0].prompt_hash == found[1].prompt_hash
    assert found[2].prompt == "system: Brief.\n\nuser: Why?"
    assert asked.messages == (("user", "Why?"),)
    assert asked.prompt is None


@pytest.mark.parametrize("given", [{}, {"prompt": "a", "messages": [("user", "a")]}])
def test_a_generation_has_a_prompt_or_messages(store, tmp_path, given):
    with pytest.raises(ValueError, match="either"):
        runs.begin_generate(store, model_path=tmp_path, sampling=Sampling(), **given)
    assert store.list_runs() == []


def test_a_download_begins(store):
    assert runs.begin_download(store, "Qwen/Qwen3-8B", revision="main") == StartDownload(
        run_id="r0001", model_id="Qwen/Qwen3-8B", revision="main"
    )


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("demo", 4, "adaptive", "default"), "demo-int4-adaptive"),
        (("Qwen/Qwen3-8B", 8, "fixed", None), "Qwen3-8B-int8-channel"),
        (("/models/my model!/", 3, "fixed", 64), "my-model-int3-g64"),
        (("../..", 4, "matrix", 32), "model-int4-g32-matrix"),
    ],
)
def test_a_checkpoint_path_says_what_is_in_it_and_is_never_taken(arguments, name):
    path = runs.suggest_checkpoint_path(*arguments)
    assert path == paths.checkpoints_dir() / name
    path.mkdir(parents=True)
    second = runs.suggest_checkpoint_path(*arguments)
    assert second == paths.checkpoints_dir() / f"{name}-2"
    second.mkdir()
    assert runs.suggest_checkpoint_path(*arguments) == paths.checkpoints_dir() / f"{name}-3"


def test_runs_of_a_console_that_died_are_interrupted_and_ours_go_on(store):
    ours = runs.begin_download(store, "a/a")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(child.pid).create_time()
    theirs = store.begin_run("quantize", "b", options={}, host={}, pid=child.pid, pid_started=started)
    assert runs.sweep_interrupted(store) == []
    child.kill()
    child.communicate()
    assert runs.sweep_interrupted(store) == [theirs]
    assert store.run(theirs).row.status == "interrupted"
    assert store.run(ours.run_id).row.status == "running"


def test_a_process_id_that_was_used_again_is_another_process():
    started = psutil.Process().create_time()
    assert runs.alive(os.getpid(), started)
    assert not runs.alive(os.getpid(), started - 3600)


def test_a_place_is_one_name_for_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.place("a/../b") == str(Path(tmp_path).resolve() / "b")


def test_a_run_remembers_widths_only_where_its_plan_was_kept_to_some(store):
    asked = {"model_id": "demo", "model_path": "/m", "out": "/out", "bits": 4}
    usual = runs.begin_quantize(store, **asked)
    narrow = runs.begin_quantize(store, **asked, granularity="planned", plan_path="/p", widths=[4, 8, 16])
    assert (usual.widths, narrow.widths) == ((3, 4, 8, 16), (4, 8, 16))
    assert "widths" not in store.run(usual.run_id).options
    options = store.run(narrow.run_id).options
    assert options["widths"] == [4, 8, 16]
    assert runs.begin_quantize(store, model_id="demo", **options).widths == (4, 8, 16)
