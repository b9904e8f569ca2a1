"""States of the Quantize screen."""

from collections.abc import Callable
from typing import Any

from fqconsole.jobs.messages import EvaluationDone, JobDone, Paused, PhaseStarted, Progress
from tests.app import fake_fit
from tests.app.fake_plan import failed_events, quantize_events
from tests.app.fakes import DEMO, LLAMA, NOW, FakeJob
from tests.app.gallery.fit import MOE_PARTS, both_parts, planners
from tests.app.gallery.models import TWO
from tests.app.gallery.state import In, State, console
from tests.app.test_quantize_screen import cut_short

START = ("enter", "enter", "enter")
LARGE = ("j", "j", *START)
MEASURED = EvaluationDone(NOW, "r0002", 5.42, 5.31, 0.0213, 0.953, 32_768, 12.0)
TINY = fake_fit.FakeCapacity("this machine's memory", 16 << 20, 8 << 20, "host")


def job(about: Any = DEMO, *, hold: int | None = None) -> Callable[[], dict[str, FakeJob]]:
    return lambda: {"quantize": FakeJob(quantize_events(about), hold=hold)}


def measuring() -> dict[str, FakeJob]:
    events = (
        PhaseStarted(NOW, "evaluate", 32_768, "tokens"),
        Progress(NOW, "evaluate", 9_216, 32_768, 2700.0, 9.0),
        MEASURED,
    )
    return {**job()(), "evaluate": FakeJob(events, hold=2)}


def done() -> dict[str, FakeJob]:
    return {**job()(), "evaluate": FakeJob((MEASURED, JobDone(NOW, "r0002", "done")))}


def held() -> dict[str, FakeJob]:
    events = quantize_events(DEMO)
    return {"quantize": FakeJob((*events[:30], Paused(NOW + 12), *events[30:]), hold=31)}


def failing() -> dict[str, FakeJob]:
    return {"quantize": FakeJob(failed_events(DEMO))}


def two_cut_short(_store: Any) -> Any:
    return [cut_short(), cut_short("r0003", "/data/x")]


STATES = (
    State("quantize-empty", console("3")),
    State("quantize-ready", console("enter", "enter")),
    State("quantize-head-and-experts", console(*MOE_PARTS, "enter", parts=both_parts, gpus=TWO)),
    State("quantize-plan-of-a-goal", console("enter", "up", "right", "enter", planner=In(planners))),
    State("quantize-disk-too-small", console("enter", "enter", disk_free=lambda _path: 1 << 20)),
    State("quantize-memory-asked", console(*START, capacity_here=lambda _readings: TINY)),
    State("quantize-reads-the-weights", console(*START, jobs=job(hold=4))),
    State("quantize-running", console(*LARGE, jobs=job(LLAMA, hold=400), gpus=TWO)),
    State("quantize-running-errors", console(*LARGE, "w", jobs=job(LLAMA, hold=400), gpus=TWO)),
    State("quantize-running-plot", console(*LARGE, "w", "w", jobs=job(LLAMA, hold=400), gpus=TWO)),
    State("quantize-held", console(*START, jobs=held)),
    State("quantize-cancel-asked", console(*START, "x", jobs=job(hold=30))),
    State("quantize-cancelled", console(*START, "x", "tab", "enter", jobs=job(hold=30))),
    State("quantize-failed", console(*START, jobs=failing)),
    State("quantize-done", console(*START, jobs=job())),
    State("quantize-measuring", console(*START, "v", jobs=measuring)),
    State("quantize-measured", console(*START, "v", jobs=done)),
    State("quantize-cut-short-offered", console("3", "r", unfinished=two_cut_short)),
)
