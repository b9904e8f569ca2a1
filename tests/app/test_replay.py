"""The shipped recording plays in the console: no worker starts, nothing is kept, and REPLAY stays there."""

import gzip
import os
from pathlib import Path

import pytest

from fqconsole import paths
from fqconsole.app import director, opening
from fqconsole.app.console import FqConsole
from fqconsole.app.director import Director
from fqconsole.app.opening import SHIPPED
from fqconsole.app.replay_services import quick_clock, replay_services
from fqconsole.errors import UsageError
from fqconsole.jobs.messages import GenerationDone, StartEvaluate, StartQuantize, StartSession, encode
from fqconsole.jobs.recording import read_recording
from store import Store
from tests.app.conftest import settled

SPEED = 1000.0


def shown(app):
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def played(app, pilot):
    await settled_director(app)
    await settled(pilot)


async def settled_director(app):
    leading = [worker for worker in app.workers if worker.group == "director"]
    await app.workers.wait_for_complete(leading)


def test_the_shipped_recording_holds_a_quantize_job_and_two_answers():
    jobs = read_recording(SHIPPED)
    assert [type(job.start) for job in jobs] == [StartQuantize, StartSession, StartEvaluate, StartSession]
    answers = [event for job in jobs for event in job.events if isinstance(event, GenerationDone)]
    assert len(answers) == 2
    assert SHIPPED.stat().st_size < 40_000


async def test_it_plays_to_its_end_without_a_worker_and_keeps_nothing(tmp_path, home, monkeypatch):
    monkeypatch.setattr(director, "POLL", 0.002)
    jobs = read_recording(SHIPPED)
    app = FqConsole(replay_services(jobs, SPEED, tmp_path), banner="REPLAY ×1000")
    app.director = Director(app, jobs, SPEED)
    async with app.run_test(size=(100, 34)) as pilot:
        await pilot.pause()
        await played(app, pilot)
        assert app.current_mode == "session"
        text = shown(app)
        assert "demo int4" in text and "demo 16-bit" in text and "perplexity" in text
        answers = [event for job in jobs for event in job.events if isinstance(event, GenerationDone)]
        with Store.open(tmp_path / "runs.db") as store:
            rows = {row.run_id: row for row in store.list_runs()}
            kept = {store.run(run_id).generation.output for run_id in rows if rows[run_id].kind == "generate"}
        assert kept == {answer.text for answer in answers}
        assert {row.status for row in rows.values()} == {"done"}
        for key in ("ctrl+o", "1", "3", "f1"):
            await pilot.press(key)
            await settled(pilot)
            assert "REPLAY ×1000" in shown(app), key
    with Store.open(paths.store_file()) as own:
        assert own.list_runs() == []
    assert not list(Path(home).rglob("*.log"))


@pytest.mark.parametrize("number", [0, 1], ids=["quantize", "generate"])
async def test_the_events_of_one_command_play_as_well(tmp_path, monkeypatch, number):
    """`fqconsole quantize … --events > file` and `fqconsole generate … --events > file`."""
    monkeypatch.setattr(director, "POLL", 0.002)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(encode(event) for event in read_recording(SHIPPED)[number].events))
    jobs = read_recording(path)
    answers = [event.text.strip() for event in jobs[0].events if isinstance(event, GenerationDone)]
    words = answers[0][:30] if number else "demo"
    app = FqConsole(replay_services(jobs, SPEED, tmp_path), banner="REPLAY")
    app.director = Director(app, jobs, SPEED)
    async with app.run_test(size=(100, 60)) as pilot:
        await pilot.pause()
        await played(app, pilot)
        assert app.current_mode == ("session" if number else "quantize")
        assert words in shown(app)
        assert [job.status for job in app.jobs.handles if job.kind == "quantize"] == ["done"] * (not number)


async def test_a_terminal_that_is_too_small_says_replay_as_well(tmp_path):
    app = FqConsole(replay_services((), 1.0, tmp_path), banner="REPLAY")
    async with app.run_test(size=(70, 20)) as pilot:
        await pilot.pause()
        assert "REPLAY fqconsole needs 80×24 cells" in shown(app)


def test_the_clock_of_a_quick_replay_goes_as_quickly():
    times = iter([100.0, 100.0, 101.0])
    clock = quick_clock(4.0, now=lambda: next(times))
    assert (clock(), clock()) == (100.0, 104.0)


def test_a_recording_is_whole_when_its_console_has_ended(tmp_path, monkeypatch, home):
    written = tmp_path / "evening.jsonl.gz"
    consoles = []  # what an ended console leaves alive must not keep the file open

    def show(make):
        from fqconsole.settings import Settings

        consoles.append(make(Settings()))
        return 0

    monkeypatch.setattr(opening, "_shown", show)
    assert opening.run_console(written) == 0
    assert written.read_bytes()  # what is not closed still lies in a buffer
    assert gzip.decompress(written.read_bytes()) == b""


def test_the_place_of_the_operators_files_is_as_before_afterwards(monkeypatch, home):
    seen = []

    def show(make):
        from fqconsole.settings import Settings

        app = make(Settings())
        seen.append((os.environ["FQCONSOLE_HOME"], app.banner))
        return 0

    monkeypatch.setattr(opening, "_shown", show)
    assert opening.run_replay(speed=4.0) == 0
    assert os.environ["FQCONSOLE_HOME"] == str(home)
    assert seen[0][0] != str(home) and not Path(seen[0][0]).exists()
    assert seen[0][1] == "REPLAY ×4"


def test_a_file_that_is_no_recording_is_told_before_anything_is_drawn(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        opening.run_replay(tmp_path / "none.jsonl")
