"""Events become rows, in few commits, and the same events give the same rows however often they come."""

import msgspec
import pytest

from fqconsole.gpus import GpuSnapshot
from fqconsole.jobs import messages as m
from fqconsole.jobs.recorder import Recorder
from fqconsole.jobs.recording import RecordingWriter
from fqconsole.jobs.replay import Replay
from store import Store, UnknownRunError
from tests.jobs.conftest import collect, quantize_request
from tests.jobs.examples import EVENTS, PLAN, T


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened


def begin(store, kind="quantize", model="demo"):
    return store.begin_run(kind, model, options={}, host={"name": "here"}, pid=1, pid_started=0.0, started=T)


def example(kind, **changes):
    event = next(event for event in EVENTS if isinstance(event, kind))
    return msgspec.structs.replace(event, **changes)


def quantize_stream(run_id):
    """A whole quantize job with two matrices."""
    second = msgspec.structs.replace(
        example(m.MatrixDone, run_id=run_id), index=1, name="model.layers.0.mlp.down_proj", group_size=None
    )
    return [
        example(m.WorkerStarted, run_id=run_id),
        example(m.PlanReady, run_id=run_id),
        example(m.PhaseStarted),
        example(m.MatrixDone, run_id=run_id),
        example(m.Progress),
        second,
        example(m.CheckpointWritten, run_id=run_id),
        example(m.MemoryMeasured, run_id=run_id),
        m.JobDone(t=T + 9, run_id=run_id, status="done"),
    ]


def record(store, events):
    recorder = Recorder(store)
    for event in events:
        recorder.feed(event)


def dump(store):
    """Every row of every table, as SQLite has them."""
    tables = ("runs", "matrices", "metrics", "generations", "texts", "memory", "gpu_samples")
    return {table: [tuple(row) for row in store._database.rows(f"SELECT * FROM {table}")] for table in tables}


def test_a_quantize_job_leaves_its_plan_matrices_numbers_and_memory(store):
    run_id = begin(store)
    record(store, quantize_stream(run_id))
    run = store.run(run_id)
    assert (run.row.status, run.row.bits, run.row.group, run.row.device) == ("done", 4, "64", "cuda:0")
    assert run.row.seconds == 9
    assert run.host == {
        "name": "here",
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "device": "cuda:0",
        "device_name": "NVIDIA H200",
        "worker_pid": 4711,
    }
    assert run.plan["groups"] == {"32": 1}
    assert run.plan["kept_bytes"] == {"embedding": PLAN.kept[0].bytes}
    assert [(row.name, row.group_size) for row in run.matrices] == [
        ("model.layers.0.self_attn.q_proj", 32),
        ("model.layers.0.mlp.down_proj", None),
    ]
    assert run.matrices[0].shape == (256, 256)
    assert run.matrices[0].statistic == {"64": 0.5}
    assert run.metric("model_bits_per_weight") == 5.16
    assert run.memory[0].measured == 2**30
    assert run.row.peak_bytes == 2**30


def test_a_generation_leaves_prompt_answer_and_speeds(store):
    run_id = begin(store, "generate")
    store.add_generation(run_id, {"prompt": "Why?", "sampling": {"temperature": 0.7}})
    record(
        store,
        [
            example(m.WorkerStarted, run_id=""),
            example(m.SessionReady),
            example(m.GenerationStarted, run_id=run_id),
            example(m.TokensGenerated, run_id=run_id),
            example(m.GenerationDone, run_id=run_id),
            m.JobDone(t=T, run_id=run_id, status="done"),
        ],
    )
    run = store.run(run_id)
    generation = run.generation
    assert (generation.prompt, generation.rendered, generation.output) == (
        "Why?",
        "<s>Why is …",
        " Because 千",
    )
    assert (generation.seed, generation.tokens_in, generation.tokens_out) == (7, 12, 2)
    assert generation.decode_tok_s is None
    assert run.metric("ttft_ms") == 38.0
    assert run.metric("decode_tok_s") is None
    assert run.host["matmul"] == "triton"
    assert run.host["device_name"] == "NVIDIA H200"
    assert run.row.device == "cuda:0"


def test_several_workers_at_once_are_not_mixed_up(store):
    ours, other = begin(store, "generate"), begin(store, "generate")
    recorder = Recorder(store)
    for pid, name in ((1, "NVIDIA H100"), (2, "NVIDIA L4")):
        recorder.feed(example(m.WorkerStarted, run_id="", pid=pid, device_name=name))
        recorder.feed(example(m.SessionReady, pid=pid, precision=f"int{pid}"))
    recorder.feed(example(m.GenerationStarted, run_id=ours, pid=1))
    recorder.feed(example(m.GenerationStarted, run_id=other, pid=2))
    recorder.flush()
    assert [store.run(run).host["device_name"] for run in (ours, other)] == ["NVIDIA H100", "NVIDIA L4"]
    assert [store.run(run).host["precision"] for run in (ours, other)] == ["int1", "int2"]


def test_an_evaluation_and_a_download_leave_their_numbers(store):
    evaluation, download = begin(store, "evaluate"), begin(store, "download")
    record(
        store,
        [
            example(m.EvaluationDone, run_id=evaluation),
            m.JobDone(t=T, run_id=evaluation, status="done"),
            example(m.DownloadDone, run_id=download),
            m.JobDone(t=T, run_id=download, status="done"),
        ],
    )
    assert store.run(evaluation).row.perplexity == 9.81
    assert store.run(evaluation).metric("top1_agreement") == 0.964
    assert store.run(download).row.path == "/hf/snapshots/9c925d6"
    assert store.run(download).row.bytes == 16381470720


def test_a_failure_is_kept_with_its_words(store):
    run_id = begin(store)
    record(store, [example(m.JobFailed, run_id=run_id)])
    run = store.run(run_id)
    assert run.row.status == "failed"
    assert run.error["code"] == "out_of_memory"
    assert run.error["next_step"] == "Use fewer bits."
    assert "Traceback" in run.error["details"]


def test_the_same_stream_twice_gives_the_same_rows(store):
    run_id = begin(store)
    record(store, quantize_stream(run_id))
    once = dump(store)
    record(store, quantize_stream(run_id))
    assert dump(store) == once


def test_every_kind_of_event_twice_gives_the_same_rows(store):
    for _ in range(50):
        begin(store)
    record(store, EVENTS)
    once = dump(store)
    record(store, EVENTS)
    assert dump(store) == once
    assert all(once[table] for table in ("matrices", "metrics", "generations", "texts", "memory"))


async def test_a_real_stream_recorded_live_and_replayed_gives_the_same_rows(start, tmp_path):
    job = await RecordingWriter(tmp_path / "events.jsonl").recorded(start)(quantize_request(matrices=5))
    events = await collect(job)
    stores = [Store.open(tmp_path / name) for name in ("live.db", "replayed.db")]
    for store in stores:
        begin(store)
    record(stores[0], events)
    record(stores[1], await collect(Replay.read(tmp_path / "events.jsonl")))
    assert dump(stores[0]) == dump(stores[1])
    assert len(dump(stores[0])["matrices"]) == 5


def test_commits_are_few_and_the_end_is_always_one(store, monkeypatch):
    commits = []
    transaction = store.transaction
    monkeypatch.setattr(store, "transaction", lambda: commits.append(1) or transaction())
    clock = Clock()
    recorder = Recorder(store, clock=clock)
    run_id = begin(store)
    for index in range(1000):
        clock.now += 0.001
        recorder.feed(example(m.MatrixDone, run_id=run_id, index=index, name=str(index)))
    assert 2 <= len(commits) <= 4
    recorder.feed(m.JobDone(t=T, run_id=run_id, status="done"))
    assert len(store.run(run_id).matrices) == 1000


def test_what_waits_is_committed_by_later_events_that_leave_no_rows(store):
    clock = Clock()
    recorder = Recorder(store, clock=clock)
    run_id = begin(store)
    recorder.feed(example(m.MatrixDone, run_id=run_id))
    assert store.run(run_id).matrices == ()
    clock.now += 1
    recorder.feed(example(m.Progress))
    assert len(store.run(run_id).matrices) == 1


def test_events_of_a_deleted_run_are_told_and_hold_up_nobody(store):
    run_id = begin(store)
    recorder = Recorder(store)
    recorder.feed(example(m.EvaluationDone, run_id="r0099"))
    recorder.feed(example(m.EvaluationDone, run_id=run_id))
    with pytest.raises(UnknownRunError, match="r0099"):
        recorder.flush()
    assert store.run(run_id).row.perplexity == 9.81
    recorder.flush()


def test_a_prompt_without_a_run_id_leaves_nothing(store):
    record(
        store,
        [
            example(m.GenerationStarted, run_id=""),
            example(m.GenerationDone, run_id=""),
            m.JobDone(t=T, run_id="", status="done"),
            example(m.JobFailed, run_id=""),
        ],
    )
    assert all(rows == [] for rows in dump(store).values())


def test_gpu_readings_are_kept_with_their_gaps(store):
    run_id = begin(store)
    recorder = Recorder(store)
    snapshot = dict.fromkeys(GpuSnapshot.__struct_fields__) | {
        "index": 1, "name": "GPU", "uuid": "u", "throttle": (), "processes": (), "t": T, "memory_used": 2**30,
    }  # fmt: skip
    recorder.feed_gpus(run_id, [GpuSnapshot(**snapshot)])
    recorder.flush()
    samples = store.gpu_samples(run_id)
    assert [(sample.gpu, sample.mem, sample.util) for sample in samples] == [(1, 2**30, None)]
