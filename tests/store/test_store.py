"""Rows in, rows out: runs, what is measured of them, and what people write on them."""

import math

import pytest

from store import StoreError, UnknownRunError
from tests.store.conftest import T, ids


def test_a_run_begins_and_ends(store):
    run_id = store.begin_run(
        "quantize", "demo", revision="abc", path="/out", options={"bits": 4}, host={"name": "here"},
        pid=1, pid_started=0.0, bits=4, group_size=0, granularity="fixed", started=T,
    )  # fmt: skip
    assert run_id == "r0001"
    row = store.run(run_id).row
    assert (row.status, row.ended, row.seconds, row.group) == ("running", None, None, "channel")
    store.finish_run(run_id, "done", ended=T + 90)
    row = store.run(run_id).row
    assert (row.status, row.ended, row.seconds) == ("done", T + 90, 90)


def test_ids_count_up_and_are_never_given_twice(store, add):
    assert [add(), add()] == ["r0001", "r0002"]
    store.delete_run("r0002")
    assert add() == "r0003"


@pytest.mark.parametrize("word", ["r0001", "R0001", "r1", "1", " r0001 "])
def test_a_run_is_found_by_however_people_write_its_id(store, add, word):
    add()
    assert store.run(word).row.run_id == "r0001"


@pytest.mark.parametrize("word", ["", "r", "x1", "r-1", "1; DROP TABLE runs", "r0002", "9" * 30, "１"])
def test_a_run_that_is_not_there_is_a_sentence(store, add, word):
    add()
    with pytest.raises(UnknownRunError) as caught:
        store.run(word)
    assert caught.value.what
    assert caught.value.next_step


def test_the_first_end_counts_but_interrupted_is_no_end(store, add):
    run_id = add(end=None)
    assert store.mark_interrupted(lambda pid, started: False) == [run_id]
    assert store.run(run_id).row.status == "interrupted"
    store.finish_run(run_id, "done", ended=T + 5)
    store.finish_run(run_id, "failed", error={"what": "late"}, ended=T + 9)
    row = store.run(run_id)
    assert (row.row.status, row.row.ended, row.error) == ("done", T + 5, None)


def test_only_running_runs_of_dead_recorders_are_interrupted(store, add):
    done, dead, alive = add(), add(end=None, pid=2), add(end=None, pid=3)
    assert store.mark_interrupted(lambda pid, started: pid == 3) == [dead]
    assert [store.run(run).row.status for run in (done, dead, alive)] == ["done", "interrupted", "running"]


def test_an_end_that_is_none_is_refused(store, add):
    with pytest.raises(StoreError, match="no end of a run"):
        store.finish_run(add(end=None), "finished")


def test_what_is_known_of_the_host_adds_up(store, add):
    run_id = add(host={"name": "here"})
    store.update_run(run_id, host={"device_name": "H200"}, device="cuda:0", plan={"bits": 4})
    run = store.run(run_id)
    assert run.host == {"name": "here", "device_name": "H200"}
    assert (run.row.device, run.plan) == ("cuda:0", {"bits": 4})


def test_columns_that_nobody_may_set_are_refused(store, add):
    run_id = add()
    with pytest.raises(StoreError, match="status"):
        store.update_run(run_id, status="done")
    with pytest.raises(StoreError, match="speed"):
        store.add_generation(run_id, {"speed": 1})


def test_numbers_that_are_none_are_left_out(store, add):
    run_id = add()
    store.add_metrics(run_id, {"a": 1.5, "b": None, "c": math.nan, "d": math.inf})
    store.add_metrics(run_id, {"a": 2.5}, step=3)
    metrics = store.run(run_id).metrics
    assert [(metric.name, metric.step, metric.value) for metric in metrics] == [
        ("a", None, 1.5),
        ("a", 3, 2.5),
    ]


def test_a_generation_adds_up_and_its_texts_are_stored_once(store, add):
    first, second = add("generate", prompt="Why?", output="Because."), add("generate", prompt="Why?")
    store.add_generation(second, {"output": "Because.", "ttft_ms": 12.5, "tokens_out": 2})
    generation = store.run(second).generation
    assert (generation.prompt, generation.output, generation.ttft_ms) == ("Why?", "Because.", 12.5)
    assert generation.output_hash == store.run(first).generation.output_hash
    assert [row["text"] for row in store._database.rows("SELECT text FROM texts ORDER BY id")] == [
        "Why?",
        "Because.",
    ]


def test_a_text_with_half_a_character_is_stored_readably(store, add):
    run_id = add("generate", prompt="half \ud83d of it", output="千问 \x00 é🙂")
    generation = store.run(run_id).generation
    assert generation.prompt == "half ? of it"
    assert generation.output == "千问 \x00 é🙂"


def test_predicted_and_measured_memory_meet_in_one_row(store, add):
    run_id = add()
    store.add_memory(run_id, [{"gpu": 0, "term": "total", "predicted": 100}])
    store.add_memory(run_id, [{"gpu": 0, "term": "total", "measured": 101}, {"term": "total", "measured": 7}])
    assert [(row.gpu, row.predicted, row.measured) for row in store.run(run_id).memory] == [
        (None, None, 7),
        (0, 100, 101),
    ]
    row = store.run(run_id).row
    assert (row.peak_bytes, row.predicted_bytes) == (101, 100)


def test_gpu_samples_come_back_thinned_and_in_order(store, add):
    run_id = add()
    store.add_gpu_samples(
        run_id, [{"t": T + second / 2, "gpu": gpu, "mem": 5} for second in range(5000) for gpu in (0, 1)]
    )
    samples = store.gpu_samples(run_id, most=100)
    assert [len([sample for sample in samples if sample.gpu == gpu]) for gpu in (0, 1)] == [100, 100]
    assert [sample.t for sample in samples] == sorted(sample.t for sample in samples)
    assert len(store.gpu_samples(run_id, most=10**6)) == 10_000


def test_deleting_forgets_everything_of_a_run_and_nothing_of_others(store, add):
    parent = add(metrics={"ppl": 1.0})
    child = add("generate", prompt="shared", output="mine", parent=parent)
    other = add("generate", prompt="shared", output="other")
    store.add_memory(child, [{"term": "total", "measured": 1}])
    store.delete_run(parent)
    assert store.run(child).row.parent is None
    store.delete_run(child)
    assert ids(store.list_runs()) == [other]
    assert {row["text"] for row in store._database.rows("SELECT text FROM texts")} == {"shared", "other"}
    assert store.list_runs("mine") == []
    assert ids(store.list_runs("shared")) == [other]
    for table in ("metrics", "memory"):
        assert store._database.rows(f"SELECT * FROM {table}") == []


def test_a_running_run_is_not_deleted(store, add):
    with pytest.raises(StoreError, match="still running"):
        store.delete_run(add(end=None))


def test_notes_tags_and_one_baseline_a_model(store, add):
    first, second, other = add(), add(), add(model="qwen")
    store.set_note(first, "  the good one ")
    store.set_tags(first, ["Demo", "b c"])
    for run in (first, other, second):
        store.set_baseline(run)
    rows = {row.run_id: row for row in store.list_runs()}
    assert (rows[first].note, rows[first].tags) == ("the good one", ("b", "c", "demo"))
    assert [rows[run].baseline for run in (first, second, other)] == [False, True, True]
    store.set_baseline(second, on=False)
    assert not store.run(second).row.baseline


def test_a_quantize_run_shows_what_was_last_measured_on_its_checkpoint(store, add):
    made = add(metrics={"bits_per_weight": 4.25})
    add("evaluate", parent=made, metrics={"perplexity": 11.0})
    add("evaluate", parent=made, metrics={"perplexity": 10.0})
    add("generate", parent=made, metrics={"decode_tok_s": 148.0})
    row = store.run(made).row
    assert (row.perplexity, row.decode_tok_s, row.bits_per_weight) == (10.0, 148.0, 4.25)


def test_a_transaction_is_kept_whole_or_not_at_all(store, add):
    def write():
        with store.transaction():
            add(model="half")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert store.list_runs() == []
    with store.transaction():
        add(model="whole")
    assert [row.model for row in store.list_runs()] == ["whole"]


def test_a_backup_is_a_whole_store_and_overwrites_nothing(store, add, tmp_path):
    add("generate", prompt="kept", output="words")
    store.backup(tmp_path / "copy" / "runs.db")
    with type(store).open(tmp_path / "copy" / "runs.db") as copy:
        assert copy.list_runs("kept") == store.list_runs()
    with pytest.raises(StoreError, match="exists already"):
        store.backup(tmp_path / "copy" / "runs.db")


def test_the_run_that_made_a_checkpoint_is_the_latest_done_one(store, add):
    add(path="/out", end="failed")
    good = add(path="/out")
    add(path="/out", end="cancelled")
    add("generate", path="/out")
    assert store.latest_checkpoint_run("/out") == good
    assert store.latest_checkpoint_run("/elsewhere") is None


def test_the_memory_history_has_done_answers_with_both_numbers_newest_first(store, add):
    host = {"device_name": "NVIDIA H200", "versions": {"torch": "2.13.0"}}
    first, second = (add(kind="generate", host=host, bits=4) for _ in range(2))
    add(kind="generate", host=host, end="failed")
    for number, run_id in enumerate((first, second)):
        store.add_memory(run_id, [{"gpu": 0, "term": "total", "predicted": 100, "measured": 101 + number}])
        store.add_memory(run_id, [{"gpu": 0, "term": "kv", "predicted": 5}])  # never measured
    quantized = add(kind="quantize")
    store.add_memory(quantized, [{"term": "total", "predicted": 1, "measured": 1}])
    newest, oldest = store.memory_history()
    assert (newest.run_id, oldest.run_id) == (second, first)
    assert newest.terms == {"total": (100, 102)}
    assert (newest.gpu, newest.bits, newest.device_name) == (0, 4, "NVIDIA H200")
    assert newest.versions == {"torch": "2.13.0"}
    assert store.memory_history(limit=1) == [newest]
