"""States of the Fit screen."""

from dataclasses import replace
from typing import Any

from fqconsole.app.console import FqConsole
from fqconsole.app.model_parts import ModelParts
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import JobDone, JobFailed, Progress
from tests.app.fake_plan import FakePlanner
from tests.app.fakes import NOW, FakeJob
from tests.app.gallery.models import TWO, recorded
from tests.app.gallery.state import Build, In, Place, State, console, never

GOAL = ("enter", "up", "right")
MEASURING = Progress(NOW, "measure", 5e6, 12e6, 2e6, 4.0, note="model.layers.2.mlp.down_proj")
LOST = JobFailed(NOW, "", "failed", "The worker was ended by SIGKILL.", "Press ⏎ to measure again.", 1)


def planners(_place: Place) -> Any:
    kept: dict[str, FakePlanner] = {}
    return lambda about, _mode: kept.setdefault(about.id, FakePlanner(about))


def measured(*events: Any, **job: Any) -> Any:
    return lambda: {"plan": FakeJob(events, **job)}


def no_preview(*_words: Any, **_choice: Any) -> Any:
    raise OperatorError("The config of this model names no head dimension.", "Look at its config.json.")


def probing() -> dict[str, FakeJob]:
    return {"probe": FakeJob((JobDone(NOW, "", "done"),), hold=0)}


def preview_later(make: Any, *steps: str) -> Build:
    """A console whose previews change once the list of models has had its own."""

    def build(place: Place) -> tuple[FqConsole, Any]:
        app, _steps = console(gpus=TWO)(place)

        async def change(_pilot: Any) -> None:
            app.services = replace(app.services, preview=make(place))

        return app, (change, *steps)

    return build


def both_parts(_about: Any) -> ModelParts:
    return ModelParts(head=True, experts=True)


MOE_PARTS = ("j", "j", "j", "enter", "down", "down", "down", "right", "down", "right")  # head int8, by layer

STATES = (
    State("fit-empty", console("2")),
    State("fit-loading", preview_later(never, "j", "enter"), held=True),
    State("fit-on-the-cpu", console("enter")),
    State("fit-does-not-fit", console("j", "j", "enter", "left", "left", gpus=TWO)),
    State("fit-measured-last", console("j", "enter", open_store=In(recorded), gpus=TWO)),
    State("fit-explained", console("j", "enter", "e", gpus=TWO)),
    State("fit-another-gpu", console("j", "enter", "s", gpus=TWO)),
    State("fit-goal-not-measured", console(*GOAL)),
    State("fit-goal-running", console(*GOAL, "enter", jobs=measured(MEASURING, MEASURING, hold=1))),
    State("fit-goal-failed", console(*GOAL, "enter", jobs=measured(MEASURING, LOST))),
    State("fit-goal-done", console("j", *GOAL, planner=In(planners), gpus=TWO)),
    State("fit-head-and-experts", console(*MOE_PARTS, parts=both_parts, gpus=TWO)),
    State("fit-probe-running", console("enter", "p", jobs=probing)),
    State("fit-failed", preview_later(lambda _place: no_preview, "j", "enter")),
)
