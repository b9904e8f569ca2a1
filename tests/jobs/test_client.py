"""The client with real worker processes: what they say arrives whole, and every end is told as what it is."""

import asyncio
import os
import signal
import stat
import sys

import psutil
import pytest

from fqconsole import paths
from fqconsole.errors import OperatorError
from fqconsole.generation.options import Sampling
from fqconsole.jobs.client import Job
from fqconsole.jobs.messages import (
    CheckpointWritten,
    DownloadDone,
    GenerationDone,
    GenerationStarted,
    JobDone,
    JobFailed,
    LogLine,
    MatrixDone,
    Pause,
    Paused,
    PlanReady,
    Resume,
    Resumed,
    Send,
    SessionReady,
    StartQuantize,
    Stop,
    TokensGenerated,
    WorkerStarted,
)
from fqconsole.jobs.recording import RecordingWriter
from fqconsole.jobs.replay import Replay
from tests.jobs.conftest import (
    collect,
    ends_within,
    fault_request,
    first,
    flood_request,
    quantize_request,
    session_request,
)
from tests.jobs.stand_in_tasks.flood import LINES

GREEDY = Sampling(temperature=0)


def send(prompt, run_id="r0001"):
    return Send(run_id=run_id, sampling=GREEDY, prompt=prompt)


async def test_a_job_tells_its_events_in_order_and_ends_with_zero(start):
    job = await start(quantize_request(matrices=3))
    events = await collect(job)
    kinds = [type(event) for event in events]
    assert kinds[0] is WorkerStarted
    assert kinds[-1] is JobDone
    assert events[-1] == JobDone(t=events[-1].t, run_id="r0001", status="done")
    assert [event.index for event in events if isinstance(event, MatrixDone)] == [0, 1, 2]
    assert kinds.index(PlanReady) < kinds.index(MatrixDone) < kinds.index(CheckpointWritten)
    assert await job.wait() == 0
    assert not job.running


async def test_what_libraries_print_goes_to_the_log_and_never_into_the_events(start):
    job = await start(quantize_request(matrices=2))
    events = await collect(job)
    # The stand-in prints a JobDone line and half a line of JSON on standard output for each matrix.
    assert [event.run_id for event in events if isinstance(event, JobDone)] == ["r0001"]
    assert not [event for event in events if isinstance(event, LogLine)]
    log = job.log_path.read_text()
    assert log.count('{"type":"JobDone","run_id":"noise"}') == 2
    assert log.count("noise on stderr") == 2
    assert job.log_path.parent == paths.log_dir()
    assert stat.S_IMODE(job.log_path.stat().st_mode) == 0o600


async def test_a_reader_that_does_not_read_holds_nothing_up_and_loses_nothing(start):
    job = await start(flood_request())
    # Nothing is read before the worker is gone, and it has far more to say than a pipe holds.
    assert await job.wait() == 0
    events = await collect(job)
    lines = [event.text for event in events if isinstance(event, LogLine)]
    assert [int(line.split()[1]) for line in lines] == list(range(LINES))
    assert len(lines[LINES // 2]) > 2**20
    assert lines[0].endswith("é🙂" * 20)
    assert isinstance(events[-2], DownloadDone)


@pytest.mark.parametrize(
    ("way", "code", "exit_code", "said"),
    [
        ("operator", "does_not_fit", 3, "It does not fit."),
        (
            "gpu memory",
            "out_of_memory",
            4,
            "GPU 0 ran out of memory: 20.00 GiB more was asked for, 1.50 GiB of",
        ),
        ("host memory", "out_of_memory", 4, "This machine ran out of memory."),
        ("device", "device_lost", 4, "illegal memory access"),
        ("disk", "disk_full", 1, "The disk is full at /data/x.safetensors."),
        ("bug", "internal", 1, "KeyError: 'lm_head'"),
        ("segfault", "worker_died", 1, "SIGSEGV"),
        ("exit", "worker_died", 1, "exit code 7"),
    ],
)
async def test_every_failure_is_one_last_event_with_a_sentence_and_an_exit_code(
    start, way, code, exit_code, said
):
    job = await start(fault_request(way))
    events = await collect(job)
    failures = [event for event in events if isinstance(event, JobFailed)]
    assert len(failures) == 1
    assert failures[0] is events[-1]
    assert (failures[0].run_id, failures[0].code, failures[0].exit_code) == ("r0001", code, exit_code)
    assert said in failures[0].what
    assert "\n" not in failures[0].what
    assert failures[0].next_step
    assert await job.wait() == exit_code


async def test_out_of_memory_names_the_smallest_change(start):
    job = await start(fault_request("gpu memory"))
    assert (await collect(job))[-1].next_step == "Use a smaller --window."


async def test_a_crash_shows_the_last_words_of_the_log(start):
    job = await start(fault_request("segfault"))
    failure = (await collect(job))[-1]
    assert "last words of a library" in failure.details
    assert str(job.log_path) in failure.next_step


async def test_a_worker_killed_by_the_kernel_gives_the_memory_hint(start):
    job = await start(quantize_request(matrices=100, seconds=0.05))
    await first(job, MatrixDone)
    os.kill(job.pid, signal.SIGKILL)
    failure = (await collect(job))[-1]
    assert isinstance(failure, JobFailed)
    assert (failure.code, failure.exit_code, failure.run_id) == ("worker_died", 1, "r0001")
    assert "SIGKILL" in failure.what
    assert "memory" in failure.next_step
    assert await job.wait() == 1


async def test_what_a_worker_started_does_not_outlive_it(start):
    job = await start(fault_request("child"))
    await collect(job)
    child = int(job.log_path.read_text().split()[1])
    assert ends_within(child, 2)


async def test_cancel_ends_a_job_between_two_matrices(start):
    job = await start(quantize_request(matrices=1000, seconds=0.01))
    await first(job, MatrixDone)
    await job.cancel()
    events = await collect(job)
    assert events[-1] == JobDone(t=events[-1].t, run_id="r0001", status="cancelled")
    assert not [event for event in events if isinstance(event, LogLine)]
    assert await job.wait() == 130


async def test_cancel_turns_to_sigterm_when_the_request_is_not_heard(start):
    job = await start(fault_request("stuck"))
    await first(job, LogLine)
    await job.cancel(grace=0.1, term_grace=5)
    events = await collect(job)
    assert [type(event) for event in events] == [JobDone]
    assert events[0].status == "cancelled"


async def test_cancel_turns_to_sigkill_when_nothing_else_helps(start):
    job = await start(fault_request("deaf"))
    await first(job, LogLine)
    began = asyncio.get_running_loop().time()
    await job.cancel()
    assert asyncio.get_running_loop().time() - began < 3
    events = await collect(job)
    assert [type(event) for event in events] == [LogLine, JobDone]
    assert "was killed" in events[0].text
    assert not psutil.pid_exists(job.pid)
    assert await job.wait() == 130


async def test_cancelling_twice_or_too_late_does_no_harm(start):
    job = await start(quantize_request(matrices=1000, seconds=0.01))
    await first(job, MatrixDone)
    await asyncio.gather(job.cancel(), job.cancel())
    await job.cancel()
    assert [event.status for event in await collect(job) if isinstance(event, JobDone)] == ["cancelled"]


async def test_sigterm_from_outside_cancels_in_order(start):
    job = await start(quantize_request(matrices=1000, seconds=0.01))
    await first(job, MatrixDone)
    os.kill(job.pid, signal.SIGTERM)
    events = await collect(job)
    assert isinstance(events[-1], JobDone)
    assert events[-1].status == "cancelled"
    assert await job.wait() == 143


async def test_pause_holds_and_resume_goes_on(start):
    job = await start(quantize_request(matrices=200, seconds=0.005))
    await first(job, MatrixDone)
    await job.send(Pause())
    await first(job, Paused)
    await job.send(Resume())
    await first(job, Resumed)
    await job.send(Pause())
    await first(job, Paused)
    await job.cancel()
    assert (await collect(job))[-1].status == "cancelled"


async def test_leaving_the_with_block_ends_the_worker(start):
    async with await start(quantize_request(matrices=1000, seconds=0.01)) as job:
        await first(job, MatrixDone)
    assert not psutil.pid_exists(job.pid)


async def test_a_worker_that_cannot_be_started_is_a_sentence(tmp_path):
    with pytest.raises(OperatorError, match="could not be started"):
        await Job.start(quantize_request(), command=(str(tmp_path / "no-python"),))


@pytest.mark.parametrize(("request_of", "kept"), [(quantize_request, True), (session_request, False)])
async def test_a_worker_keeps_the_memory_of_its_blocks_of_rows(request_of, kept, tmp_path, monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    told = tmp_path / "told"
    stand_in = f"import os; open({str(told)!r}, 'w').write(os.environ.get('MALLOC_MMAP_THRESHOLD_', '0'))"
    job = await Job.start(request_of(), command=(sys.executable, "-c", stand_in))
    await collect(job)
    assert (int(told.read_text()) >= 1 << 20) == kept  # one limit set alone keeps the other at 128 KiB


async def test_a_request_of_another_protocol_is_refused_for_its_run(start):
    job = await start(
        StartQuantize(run_id="r0007", model_id="m", model_path="/m", out="/o", bits=4, protocol=99)
    )
    events = await collect(job)
    assert isinstance(events[-1], JobFailed)
    assert (events[-1].run_id, events[-1].code, events[-1].exit_code) == ("r0007", "protocol", 2)
    assert "protocol 99" in events[-1].what
    assert await job.wait() == 2


async def test_a_session_answers_one_prompt_after_the_other(start):
    job = await start(session_request())
    await first(job, SessionReady)
    await job.send(send("one two"))
    done = await first(job, GenerationDone)
    assert (done.run_id, done.text) == ("r0001", "ONE TWO")
    await job.send(send("three", "r0002"))
    assert (await first(job, GenerationDone)).text == "THREE"
    await job.cancel()
    assert [type(event) for event in await collect(job) if isinstance(event, JobFailed)] == []
    assert await job.wait() == 0


async def test_stop_ends_the_answer_under_way_and_the_session_stays(start):
    job = await start(session_request())
    await job.send(send("endless"))
    await first(job, TokensGenerated)
    await job.send(Stop())
    assert (await first(job, GenerationDone)).stop_reason == "stopped"
    assert (await first(job, JobDone)).status == "done"
    await job.send(send("again", "r0002"))
    assert (await first(job, GenerationDone)).text == "AGAIN"


async def test_a_failed_prompt_leaves_the_session_alive(start):
    job = await start(session_request())
    await job.send(send("fail"))
    failure = await first(job, JobFailed)
    assert (failure.run_id, failure.code, failure.exit_code) == ("r0001", "out_of_memory", 4)
    await job.send(send("hello", "r0002"))
    assert (await first(job, GenerationDone)).text == "HELLO"
    await job.cancel()
    assert await job.wait() == 0


async def test_a_session_that_dies_fails_every_prompt_it_owes(start):
    job = await start(session_request())
    await job.send(send("fine"))
    await first(job, JobDone)
    await job.send(send("die", "r0002"))
    await job.send(send("waiting", "r0003"))
    failures = [event for event in await collect(job) if isinstance(event, JobFailed)]
    assert [(failure.run_id, failure.code) for failure in failures] == [
        ("r0002", "worker_died"),
        ("r0003", "worker_died"),
    ]
    assert await job.wait() == 1
    with pytest.raises(OperatorError, match="session has ended"):
        await job.send(send("too late", "r0004"))


async def test_a_session_cancelled_while_it_answers_keeps_what_it_said(start):
    job = await start(session_request())
    await job.send(send("endless"))
    await job.send(send("never begun", "r0002"))
    await first(job, GenerationStarted)
    await job.cancel()
    events = await collect(job)
    ends = {event.run_id: event.status for event in events if isinstance(event, JobDone)}
    assert ends == {"r0001": "cancelled", "r0002": "cancelled"}
    assert [event for event in events if isinstance(event, GenerationDone)]
    assert await job.wait() == 0


async def test_a_recorded_stream_replays_as_the_same_events(start, tmp_path):
    job = await RecordingWriter(tmp_path / "events.jsonl").recorded(start)(quantize_request(matrices=3))
    lived = await collect(job)
    replay = Replay.read(tmp_path / "events.jsonl")
    assert await collect(replay) == lived
    assert await replay.wait() == await job.wait()


async def test_the_end_that_the_client_made_is_recorded_too(start, tmp_path):
    job = await RecordingWriter(tmp_path / "events.jsonl").recorded(start)(fault_request("exit"))
    lived = await collect(job)
    assert await collect(Replay.read(tmp_path / "events.jsonl")) == lived


async def test_old_logs_make_room(start, tmp_path):
    for number in range(120):
        (tmp_path / f"worker-20200101-000000-r{number:04}-abcdef.log").write_text("old")
    (tmp_path / "mine.log").write_text("not a worker's")
    job = await start(quantize_request(), log_dir=tmp_path)
    await collect(job)
    assert len(list(tmp_path.glob("worker-*.log"))) == 100
    assert (tmp_path / "mine.log").exists()


def test_the_worker_runs_from_any_folder_and_takes_no_module_from_there():
    from fqconsole.jobs.worker_process import WORKER

    assert WORKER[:2] == (sys.executable, "-P")
