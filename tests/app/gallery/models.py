"""States of the Models screen."""

from typing import Any

import msgspec

from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import JobDone, JobFailed, PhaseStarted, Progress
from store import Store
from tests.app.fakes import GIB, NOW, QWEN, FakeGpu, FakeGpus, FakeJob
from tests.app.gallery.state import In, Place, State, console, never, typed
from tests.app.run_seeds import seed

TWO = FakeGpus((FakeGpu(0), FakeGpu(1)))
HUB = msgspec.structs.replace(QWEN, id="some/model", source="hub", path=None)
FULL_DISK = "The disk of the cache is full: 1.2 GiB free, 15.3 GiB needed."


def recorded(place: Place) -> Any:
    """Opens a run database with one run of every kind."""
    where = place.folder / "runs.db"
    with Store.open(where) as store:
        seed(store, place.folder.relative_to(place.folder))
    return lambda: Store.open(where)


def lost(*_words: Any) -> Any:
    raise OperatorError("The models folder can't be read.", "Change its permissions.")


def downloading(**job: Any) -> dict[str, FakeJob]:
    part = Progress(NOW, "download", 4.6 * GIB, 15.3 * GIB, 110e6, 104.0)
    return {"download": FakeJob((PhaseStarted(NOW, "download", 15.3 * GIB, "B"), part, part), **job)}


def ended(event: Any) -> dict[str, FakeJob]:
    return {"download": FakeJob((*downloading()["download"].script, event))}


ASKED = ("/", typed("some/model"), "enter")
FAILED = JobFailed(NOW, "r0001", "failed", FULL_DISK, "Free some space, then press d again.", 1)


def hub(_model_id: str) -> Any:
    return HUB


STATES = (
    State("models-loading", console(list_models=In(never)), held=True),
    State("models-empty", console(entries=())),
    State("models-can-not-be-listed", console(list_models=lost)),
    State("models-list", console(gpus=TWO)),
    State("models-unusable-one", console("G")),
    State("models-measured", console("j", open_store=In(recorded), gpus=TWO)),
    State("models-about", console("j", "v", open_store=In(recorded), gpus=TWO)),
    State("models-filter-finds-nothing", console("/", typed("org/name"))),
    State("models-hub-out-of-reach", console("/", typed("org/name"), "enter")),
    State("models-hub", console(*ASKED, describe_hub=hub)),
    State("models-downloading", console(*ASKED, "d", describe_hub=hub, jobs=lambda: downloading(hold=2))),
    State(
        "models-downloaded",
        console(*ASKED, "d", describe_hub=hub, jobs=lambda: ended(JobDone(NOW, "r0001", "done"))),
    ),
    State("models-download-failed", console(*ASKED, "d", describe_hub=hub, jobs=lambda: ended(FAILED))),
)
