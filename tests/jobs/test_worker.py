"""The worker process by itself, spoken to as the client does: bound to its parent, deaf to nonsense."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import (
    Cancel,
    JobDone,
    JobFailed,
    LogLine,
    MatrixDone,
    Send,
    WorkerStarted,
    decode_event,
    encode,
)
from tests.jobs.conftest import STAND_IN, ends_within, flood_request, quantize_request, session_request

PATIENCE = 10  # seconds, far beyond what is measured


class Worker:
    """A worker started by hand: events on its standard output."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [*STAND_IN, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def say(self, line):
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def hear(self, kind):
        """The next event of this kind."""
        for line in self.process.stdout:
            event = decode_event(line)
            if isinstance(event, kind):
                return event
        raise AssertionError(f"no {kind.__name__} came")

    def rest(self):
        """Every event to the end, and the exit code."""
        events = [decode_event(line) for line in self.process.stdout]
        return events, self.process.wait(PATIENCE)


@pytest.fixture
def worker():
    made = []

    def make(*arguments):
        made.append(Worker(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait(PATIENCE)
        for pipe in (one.process.stdin, one.process.stdout, one.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def test_by_hand_events_come_on_standard_output_and_noise_on_standard_error(worker):
    one = worker()
    one.say(encode(quantize_request(matrices=2)))
    events, code = one.rest()
    assert isinstance(events[0], WorkerStarted)
    assert isinstance(events[-1], JobDone)
    assert code == 0
    assert b"noise on stderr" in one.process.stderr.read()


def test_the_end_of_input_cancels_the_job(worker):
    one = worker()
    one.say(encode(quantize_request(matrices=1000, seconds=0.01)))
    one.hear(MatrixDone)
    one.process.stdin.close()
    events, code = one.rest()
    assert events[-1].status == "cancelled"
    assert code == 130


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"not json\n",
        b"[1, 2]\n",
        b'{"type": "Nonsense"}\n',
        b'{"type": "StartQuantize"}\n',
        b'{"type": "StartQuantize", "run_id": 3}\n',
        b'{"type": "Stop"}\n',
        b"\xff\xfe\x00\n",
        encode(quantize_request()).replace(b'"bits":3', b'"bits":"three"'),
        encode(quantize_request()).replace(b'"bits":3', b'"bits":3,"rounds":1'),
    ],
)
def test_a_first_line_that_starts_nothing_is_refused_with_a_sentence(worker, line):
    one = worker()
    one.say(line)
    events, code = one.rest()
    assert isinstance(events[-1], JobFailed)
    assert (events[-1].code, events[-1].exit_code, code) == ("protocol", 2, 2)
    assert events[-1].what
    assert events[-1].next_step


def test_a_bad_field_is_named_and_the_run_too(worker):
    one = worker()
    one.say(encode(quantize_request(run_id="r0042")).replace(b'"bits":3', b'"bits":"three"'))
    failure = one.rest()[0][-1]
    assert failure.run_id == "r0042"
    assert "bits" in failure.what


def test_nonsense_in_the_middle_is_told_and_changes_nothing(worker):
    one = worker()
    one.say(encode(session_request()))
    for line in (b"garbage\n", b"\n", b'{"type":"Fly"}\n', encode(quantize_request())):
        one.say(line)
    one.say(encode(Send(run_id="r0001", sampling=Sampling(), prompt="still here")))
    complaints = [one.hear(LogLine) for _ in range(3)]
    assert all(line.level == "error" for line in complaints)
    assert one.hear(JobDone).run_id == "r0001"
    one.say(encode(Cancel()))
    assert one.rest()[1] == 0


def test_a_console_that_stands_still_does_not_hold_the_work_up(worker):
    one = worker()
    one.say(encode(flood_request()))
    # Nobody reads the events, which are more than the pipe holds; the work is over all the same.
    assert any(b"all said" in line for line in one.process.stderr)
    assert one.process.poll() is None
    events, code = one.rest()
    assert isinstance(events[-1], JobDone)
    assert len([event for event in events if isinstance(event, LogLine)]) == 5000
    assert code == 0


def test_a_worker_whose_parent_is_gone_already_does_nothing(worker):
    one = worker("--parent", "1")
    one.say(encode(quantize_request()))
    assert one.process.wait(PATIENCE) == 1
    assert one.process.stdout.read() == b""


def test_made_ready_it_says_so_by_an_empty_line_and_waits(worker):
    one = worker("--ready", "session")
    assert one.process.stdout.readline() == b"\n"
    one.say(encode(quantize_request(matrices=2)))
    events, code = one.rest()
    assert isinstance(events[0], WorkerStarted)
    assert (events[-1].status, code) == ("done", 0)


@pytest.mark.parametrize("loading", ["0", "60"])
def test_made_ready_it_leaves_when_its_input_ends(worker, monkeypatch, loading):
    monkeypatch.setenv("STAND_IN_LOADING", loading)
    one = worker("--ready", "session")
    one.process.stdin.close()
    assert one.process.wait(PATIENCE) == 2


def test_made_ready_it_leaves_when_it_is_cancelled_or_terminated(worker):
    one, other = worker("--ready", "session"), worker("--ready", "session")
    assert one.process.stdout.readline() == other.process.stdout.readline() == b"\n"
    one.say(encode(Cancel()))
    assert one.process.wait(PATIENCE) == 2
    other.process.terminate()
    events, code = other.rest()
    assert [event.status for event in events] == ["cancelled"]
    assert code == 128 + signal.SIGTERM


def test_a_reader_that_goes_away_ends_the_job(worker):
    one = worker()
    one.say(encode(quantize_request(matrices=1000, seconds=0.01)))
    one.hear(MatrixDone)
    one.process.stdout.close()
    assert one.process.wait(PATIENCE) == 130


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("way", ["deaf", "quantize"])
def test_a_worker_is_gone_within_two_seconds_of_its_killed_parent(way):
    # The parent starts a job as the console does, says the worker's process id, and waits to be killed.
    script = textwrap.dedent(f"""
        import asyncio, sys
        from fqconsole.jobs.client import Job
        from tests.jobs.conftest import STAND_IN, fault_request, quantize_request
        from fqconsole.jobs.messages import LogLine, MatrixDone

        async def main():
            long = quantize_request(matrices=10000, seconds=0.01)
            job = await Job.start(fault_request("deaf") if {way == "deaf"} else long, command=STAND_IN)
            async for event in job.events():
                if isinstance(event, LogLine | MatrixDone):
                    print(job.pid, flush=True)
                    await asyncio.sleep(60)

        asyncio.run(main())
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        worker = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        assert ends_within(worker, 2)
    finally:
        parent.kill()
        parent.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_spare_is_gone_with_its_killed_console():
    script = textwrap.dedent("""
        import asyncio
        from fqconsole.jobs.spare import SpareWorker
        from tests.jobs.conftest import STAND_IN

        async def main():
            spare = await SpareWorker.start(command=STAND_IN)
            assert await spare.wait_ready()
            print(spare.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        spare = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        assert ends_within(spare, 2)
    finally:
        parent.kill()
        parent.communicate()


def test_the_client_half_and_an_idle_worker_load_no_torch():
    script = textwrap.dedent("""
        import json, sys
        import fqconsole.jobs.client, fqconsole.jobs.runs, fqconsole.jobs.recorder, fqconsole.jobs.replay
        import fqconsole.jobs.worker, fqconsole.jobs.orders, fqconsole.jobs.spare, store, store.export
        heavy = {"torch", "transformers", "triton"}
        print(json.dumps(sorted(heavy & {name.partition(".")[0] for name in sys.modules})))
    """)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []
