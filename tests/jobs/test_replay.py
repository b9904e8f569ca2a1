"""A recording played back with the face of a job."""

import pytest

from fqconsole.errors import UsageError
from fqconsole.jobs.messages import Cancel, JobDone, LogLine, Paused, encode
from fqconsole.jobs.replay import Replay, read_events
from tests.jobs.conftest import collect
from tests.jobs.examples import EVENTS


def lines(times):
    return tuple(LogLine(t=t, level="info", text=str(t)) for t in times)


async def test_without_a_speed_it_waits_for_nothing():
    async def never(_seconds):
        raise AssertionError

    replay = Replay(lines([0.0, 100.0]), sleep=never)
    assert await collect(replay) == list(lines([0.0, 100.0]))
    assert not replay.running


async def test_the_recorded_time_is_kept_and_long_breaks_are_cut():
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    await collect(Replay(lines([0.0, 2.0, 3.0, 1000.0, 999.0]), speed=2.0, sleep=sleep))
    assert waited == [1.0, 0.5, 5.0, 0.0]


async def test_cancel_ends_it_also_while_it_waits():
    replay = Replay(lines([0.0, 1.0, 2.0]), speed=1.0, sleep=lambda _seconds: replay.cancel())
    assert await collect(replay) == list(lines([0.0]))
    assert replay.asked == [Cancel()]
    assert await replay.wait() == 130


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("cancelled", 130)])
async def test_the_exit_code_is_that_of_the_recorded_job(status, code):
    assert await Replay((JobDone(t=0.0, run_id="r1", status=status), Paused(t=1.0))).wait() == code


async def test_a_failed_recording_has_the_failures_code():
    assert await Replay(EVENTS).wait() == 4


def test_a_recording_with_a_broken_line_names_it(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(Paused(t=1.0)) + b"\n" + b'{"type": "Paused"}\n')
    with pytest.raises(UsageError, match="Line 3"):
        read_events(path)


def test_a_recording_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        read_events(tmp_path / "none.jsonl")
