"""Presenter mode: which figures stand there for which jobs, and how it comes and goes."""

import pytest
from textual.widgets import Digits

from fqconsole.app.console import FqConsole
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.presenter_view import BLIND, NOTHING, presented
from fqconsole.app.screens.presenter import PresenterScreen, Tile
from fqconsole.jobs.messages import (
    CheckpointWritten,
    EvaluationDone,
    GenerationDone,
    JobDone,
    Progress,
    SessionReady,
    StartQuantize,
    StartSession,
    TokensGenerated,
)
from tests.app.conftest import settled
from tests.app.fake_plan import quantize_events
from tests.app.fakes import DEMO, GIB, NOW, FakeJob, JobScripts, fake_services


def session(title, precision, weights, *, tok_s=None, writing=None, number=1):
    job = JobHandle(number, "session", title, StartSession(model_path="/m"), NOW)
    job.take(SessionReady(NOW, "/m", precision, "cuda:0", 8192, True, 1.0, weights, "triton"))
    if tok_s is not None:
        job.take(GenerationDone(NOW, "r1", "text", (1,), 5, 38.4, 900.0, tok_s, GIB, "end"))
    if writing is not None:
        job.take(TokensGenerated(NOW, "r2", "te", 3, writing))
    return job


def quantize(*events, status="running"):
    request = StartQuantize(run_id="r1", model_id="demo", model_path="/m", out="/o", bits=4)
    job = JobHandle(1, "quantize", "demo → int4", request, NOW, status=status)
    for event in events:
        job.take(event)
    return job


def figures(found):
    return {figure.title: (figure.digits, figure.unit) for figure in found.figures}


def test_with_no_job_it_says_what_to_start():
    assert presented([]) is NOTHING


def test_a_running_job_shows_how_far_it_is_and_what_it_takes():
    progress = Progress(NOW, "quantize", 50.0, 100.0, eta_seconds=161.0, device_bytes=12 * GIB)
    shown = figures(presented([quantize(progress)]))
    assert shown["done"][0].endswith("%")
    assert shown["time left"] == ("02:41", "minutes")
    assert shown["memory of the job"] == ("12.0", "GiB")


def test_what_is_not_known_is_a_dash():
    assert figures(presented([quantize()]))["done"] == ("-", "")
    assert figures(presented([quantize(Progress(NOW, "hash", 0.0, 0.0))]))["time left"][0] == "-"


def test_a_finished_job_shows_the_gain():
    written = CheckpointWritten(NOW, "r1", "/o", 4 * GIB, 16 * GIB, 4.25, 4.5, 161.0)
    shown = figures(presented([quantize(written, JobDone(NOW, "r1", "done"))]))
    assert shown["before"] == ("16.0", "GiB") and shown["after"] == ("4.0", "GiB")
    assert shown["times smaller"] == ("4.0", "") and shown["bits per weight"] == ("4.50", "of 16")


def test_two_models_show_speed_memory_and_how_many_times_better():
    jobs = [
        session("demo int4", "int4", 4 * GIB, tok_s=148.0),
        session("demo 16-bit", "bf16", 16 * GIB, tok_s=74.0, number=2),
    ]
    found = presented(jobs)
    assert found.title == "demo int4 beside demo 16-bit" and found.note == ""
    assert figures(found) == {
        "demo int4": ("148", "tok/s"),
        "its weights": ("4.0", "GiB"),
        "first token after": ("38", "ms"),
        "demo 16-bit": ("74", "tok/s"),
        "times smaller": ("4.0", ""),
        "times as fast": ("2.0", ""),
    }
    assert [figure.title for figure in found.figures if figure.good] == ["times smaller", "times as fast"]


def test_a_slower_model_is_no_gain():
    jobs = [session("a", "int3", GIB, tok_s=50.0), session("b", "bf16", 2 * GIB, tok_s=100.0, number=2)]
    assert [figure.title for figure in presented(jobs).figures if figure.good] == ["times smaller"]


def test_the_speed_of_the_answer_under_way_goes_first():
    job = session("demo int4", "int4", GIB, tok_s=148.0, writing=9.53)
    assert figures(presented([job]))["demo int4"] == ("9.5", "tok/s")
    job.take(JobDone(NOW, "r2", "done"))
    assert figures(presented([job]))["demo int4"] == ("148", "tok/s")


def test_alone_it_shows_what_was_lost_where_that_was_measured():
    measured = JobHandle(2, "evaluate", "measuring", StartSession(model_path="/m"), NOW, status="done")
    measured.take(EvaluationDone(NOW, "r3", 1.79, 1.78, 0.001, 0.9171, 4096, 3.0))
    found = presented([session("demo int4", "int4", GIB), measured])
    assert figures(found)["same top token"] == ("91%", "as in 16 bits")
    assert "F2" in found.note


def test_a_blind_comparison_shows_no_figures():
    assert presented([session("a", "int4", GIB, tok_s=1.0)], hidden=True) is BLIND


def console(hold=40):
    jobs = JobScripts(quantize=FakeJob(quantize_events(DEMO), hold=hold))
    return FqConsole(fake_services(jobs=jobs))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_p_shows_it_and_escape_goes_back_to_the_same_screen_and_theme(size):
    app = console()
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await pilot.press("enter", "enter", "enter")
        await settled(pilot)
        await pilot.press("P")
        await settled(pilot)
        assert isinstance(app.screen, PresenterScreen)
        assert app.theme == "contrast"
        shown = [tile for tile in app.screen.query(Tile) if tile.visible]
        assert len(shown) >= 3
        assert all(tile.query_one(Digits).value for tile in shown)
        await pilot.press("escape")
        await settled(pilot)
        assert app.current_mode == "quantize" and app.theme == "fqconsole"


async def test_it_goes_along_when_another_screen_is_shown():
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+g")
        await settled(pilot)
        app.show("runs")
        await settled(pilot)
        assert isinstance(app.screen, PresenterScreen) and app.current_mode == "runs"
        await pilot.press("q")
        await settled(pilot)
        assert app.theme == "fqconsole" and not isinstance(app.screen, PresenterScreen)
