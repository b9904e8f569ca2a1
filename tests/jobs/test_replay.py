"""A recording read, written and played back with the face of a job."""

import gzip

import pytest

from fqconsole.errors import OperatorError, UsageError
from fqconsole.generation.options import Sampling
from fqconsole.jobs import recording
from fqconsole.jobs.messages import (
    Cancel,
    GenerationDone,
    GenerationStarted,
    JobDone,
    JobFailed,
    LogLine,
    Pause,
    Paused,
    PlanReady,
    Resume,
    Resumed,
    Send,
    SessionReady,
    StartQuantize,
    StartSession,
    Stop,
    encode,
)
from fqconsole.jobs.recording import Entry, RecordedJob, RecordingWriter, read_recording
from fqconsole.jobs.replay import NOTHING_MORE, Replay, ReplayedWorkers
from tests.jobs.conftest import collect, quantize_request
from tests.jobs.examples import EVENTS

NOW = 5000.0


def job_of(*said, start=None):
    entries = tuple(Entry(event.t, event) for event in said)
    return RecordedJob(start or quantize_request(run_id="r1"), entries, 0.0)


def lines(times):
    return tuple(LogLine(t=t, level="info", text=str(t)) for t in times)


def send(run_id):
    return Send(run_id=run_id, sampling=Sampling(), prompt="Once")


def answer(run_id, t=0.0):
    return next(
        event for event in EVENTS if isinstance(event, GenerationDone)
    ).__class__(
        t=t, run_id=run_id, text="upon", token_ids=(1,), prompt_tokens=1, ttft_ms=1.0, prefill_tok_s=1.0,
        decode_tok_s=None, peak_bytes=1, stop_reason="end",
    )  # fmt: skip


def session(*prompts):
    """A recorded session: ready, then for each prompt its answer and the end of its run."""
    entries = [Entry(0.0, LogLine(t=0.0, level="info", text="loaded"))]
    for run_id in prompts:
        entries += [Entry(1.0, send(run_id)), Entry(2.0, answer(run_id, 2.0))]
        entries.append(Entry(3.0, JobDone(t=3.0, run_id=run_id, status="done")))
    return RecordedJob(StartSession(model_path="/m"), tuple(entries), 0.0)


async def test_without_a_speed_it_waits_for_nothing():
    async def never(_seconds):
        raise AssertionError

    assert await collect(Replay(job_of(*lines([0.0, 100.0])), sleep=never)) == list(lines([0.0, 100.0]))


async def test_the_recorded_time_is_kept_and_long_breaks_are_cut():
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    await collect(Replay(job_of(*lines([0.0, 2.0, 3.0, 1000.0, 999.0])), speed=2.0, sleep=sleep))
    assert waited == [1.0, 0.5, 5.0, 0.0]


async def test_cancel_ends_it_also_while_it_waits_and_closes_its_run():
    replay = Replay(job_of(*lines([0.0, 1.0, 2.0])), speed=1.0, sleep=lambda _seconds: replay.cancel())
    assert await collect(replay) == [*lines([0.0]), JobDone(t=0.0, run_id="r1", status="cancelled")]
    assert replay.asked == [Cancel()]
    assert await replay.wait() == 130


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("cancelled", 130)])
async def test_the_exit_code_is_that_of_the_recorded_job(status, code):
    replay = Replay(job_of(JobDone(t=0.0, run_id="r1", status=status)))
    await collect(replay)
    assert await replay.wait() == code


async def test_a_failed_recording_has_the_failures_code():
    replay = Replay(job_of(*(event for event in EVENTS if isinstance(event, JobFailed))))
    await collect(replay)
    assert await replay.wait() == 4


async def test_with_a_clock_times_are_those_of_now_and_runs_those_of_the_request():
    replay = Replay(
        job_of(*lines([1.0]), JobDone(t=2.0, run_id="r1", status="done")),
        quantize_request(run_id="r0007"),
        clock=lambda: NOW,
    )
    told = await collect(replay)
    assert [event.t for event in told] == [NOW, NOW]
    assert told[-1].run_id == "r0007"


async def test_a_pause_is_told_and_lasts_until_it_goes_on():
    replay = Replay(job_of(*lines([0.0, 1.0]), Paused(t=1.0), Resumed(t=2.0)), clock=lambda: NOW)
    told = replay.events()
    assert (await anext(told)).text == "0.0"
    await replay.send(Pause())
    assert isinstance(await anext(told), Paused)
    await replay.send(Resume())
    assert isinstance(await anext(told), Resumed)
    assert [event.text async for event in told] == ["1.0"]


async def test_a_session_answers_when_asked_and_refuses_what_is_not_recorded():
    replay = Replay(session("r1", "r2"), StartSession(model_path="/m"), clock=lambda: NOW)
    told = replay.events()
    assert isinstance(await anext(told), LogLine)
    for live in ("r0011", "r0012"):
        await replay.send(send(live))
        assert (await anext(told)).run_id == live
        assert await anext(told) == JobDone(t=NOW, run_id=live, status="done")
    await replay.send(send("r0013"))
    refused = await anext(told)
    assert (refused.run_id, refused.what, refused.next_step) == ("r0013", *NOTHING_MORE)
    await replay.cancel()
    assert [event async for event in told] == []


async def test_stop_lets_the_rest_of_an_answer_come_at_once():
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    replay = Replay(session("r1"), StartSession(model_path="/m"), speed=1.0, sleep=sleep, clock=lambda: NOW)
    told = replay.events()
    await anext(told)
    await replay.send(send("r0011"))
    await anext(told)
    await replay.send(Stop())
    await anext(told)
    assert waited == []


async def test_each_request_gets_the_next_recorded_job_of_its_kind():
    workers = ReplayedWorkers((session("r1"), job_of(*lines([0.0]))), clock=lambda: NOW)
    assert isinstance(await workers.start(quantize_request()), Replay)
    other = RecordedJob(StartSession(model_path="/b"), (), 1.0)
    workers = ReplayedWorkers((session("r1"), other), clock=lambda: NOW)
    assert (await workers.start(StartSession(model_path="/b")))._job is other
    await workers.start(StartSession(model_path="/b"))
    with pytest.raises(OperatorError, match="holds no more of this"):
        await workers.start(StartSession(model_path="/b"))


@pytest.mark.parametrize("name", ["evening.jsonl", "evening.jsonl.gz"])
async def test_what_the_console_records_is_read_again(tmp_path, name):
    path = tmp_path / name
    writer = RecordingWriter(path, clock=lambda: NOW)
    start = writer.recorded(ReplayedWorkers((session("r1"), job_of(*lines([0.0])))).start)
    for request in (StartSession(model_path="/m"), quantize_request()):
        job = await start(request)
        if isinstance(request, StartSession):
            await job.send(send("r1"))
            told = job.events()
            for _ in range(3):
                await anext(told)
        else:
            await collect(job)
    writer.close()
    one, two = read_recording(path)
    assert (one.start, one.t) == (StartSession(model_path="/m"), NOW)
    assert one.prompts == (send("r1"),)
    assert [type(event) for event in one.events] == [LogLine, GenerationDone, JobDone]
    assert (two.start, len(two.events)) == (quantize_request(), 1)


def test_a_stream_of_bare_events_is_one_job_whose_request_is_guessed(tmp_path):
    path = tmp_path / "events.jsonl"
    for kind, start in ((PlanReady, StartQuantize), (SessionReady, StartSession)):
        path.write_bytes(b"".join(encode(event) for event in EVENTS if isinstance(event, kind | LogLine)))
        (job,) = read_recording(path)
        assert isinstance(job.start, start)
        assert job.events


def test_a_stream_of_bare_answers_is_asked_what_the_model_saw(tmp_path):
    path = tmp_path / "events.jsonl"
    kinds = SessionReady | GenerationStarted | GenerationDone
    path.write_bytes(b"".join(encode(event) for event in EVENTS if isinstance(event, kinds)))
    (job,) = read_recording(path)
    started = next(event for event in EVENTS if isinstance(event, GenerationStarted))
    assert [(prompt.run_id, prompt.prompt) for prompt in job.prompts] == [(started.run_id, started.rendered)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (encode(Paused(t=1.0)) + b"\n" + b'{"type": "Paused"}\n', "Line 3 of"),
        (b'{"job": 1, "request": {"type": "Nothing"}}\n', "Line 1 of"),
        (b'{"job": 1}\n', "Line 1 of"),
        (b"", "holds no job that can be shown"),
        (encode(Paused(t=1.0)), "holds no job that can be shown"),
    ],
)
def test_a_file_that_is_no_recording_is_a_sentence(tmp_path, content, words):
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_recording(path)


def test_a_recording_that_can_not_be_read_is_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="can't be read: No such file"):
        read_recording(tmp_path / "none.jsonl")
    (tmp_path / "broken.gz").write_bytes(b"not gzip")
    with pytest.raises(UsageError, match="is no gzip file, as its name says"):
        read_recording(tmp_path / "broken.gz")
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"x" * 100))
    with pytest.raises(UsageError, match="holds no job"):
        read_recording(tmp_path / "other.gz")


@pytest.mark.parametrize("name", ["evening.jsonl", "evening.jsonl.gz"])
def test_what_a_killed_console_has_recorded_is_read_as_far_as_it_goes(tmp_path, name):
    path = tmp_path / name
    writer = RecordingWriter(path)
    writer.note(1, StartSession(model_path="/m"))
    writer.note(1, Paused(t=1.0))
    written = path.read_bytes()  # a gzip stream without its end
    (job,) = read_recording(path)
    assert (job.start, len(job.events)) == (StartSession(model_path="/m"), 1)
    writer.note(1, Paused(t=2.0))
    added = path.read_bytes()[len(written) :]
    path.write_bytes(written + added[: len(added) // 2])  # in the middle of the next line
    (job,) = read_recording(path)
    assert len(job.events) == 1
    writer.close()


def test_a_recording_that_swells_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_BYTES", 1000)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 10**6))
    with pytest.raises(UsageError, match="larger than 1 GiB"):
        read_recording(path)


def test_a_recording_that_can_not_be_written_is_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="can't be written"):
        RecordingWriter(tmp_path / "none" / "events.jsonl")
