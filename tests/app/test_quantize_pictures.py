"""Pictures of what Models, Fit and Quantize tell of goals, of earlier runs and of runs that were cut short.

Make them again with `pytest tests/app/test_quantize_pictures.py --snapshot-update`, and look at them.
"""

import msgspec
import pytest

from fqconsole.app.console import FqConsole
from fqconsole.jobs.messages import JobDone, Progress
from store import Store
from tests.app.conftest import settled
from tests.app.fake_plan import FakePlanner, quantize_events
from tests.app.fakes import DEMO, LLAMA, NOW, QWEN, FakeGpu, FakeGpus, FakeJob, JobScripts, fake_services
from tests.app.run_seeds import seed
from tests.app.test_quantize_screen import cut_short

SMALL, MIDDLE = (80, 24), (120, 40)
GPUS = FakeGpus((FakeGpu(0), FakeGpu(1)))


def keys(*names):
    async def run(pilot):
        await settled(pilot)
        for name in names:
            await pilot.press(name)
            await settled(pilot)

    return run


def app_with(planner=FakePlanner, **changes):
    jobs = changes.pop("jobs", None) or JobScripts()
    kept = {}

    def planners(about, _mode):
        return planner and kept.setdefault(about.id, planner(about))

    return FqConsole(fake_services(jobs=jobs, planner=planners, **changes))


@pytest.fixture
def recorded(tmp_path):
    with Store.open(tmp_path / "runs.db") as store:
        seed(store, tmp_path)
    return lambda: Store.open(tmp_path / "runs.db")


def test_a_model_with_what_was_measured_of_it(snapshot, recorded):
    app = app_with(open_store=recorded, gpus=GPUS)
    assert snapshot(app, terminal_size=SMALL, run_before=keys("j"))


def test_a_model_on_the_hub_with_what_its_download_costs(snapshot):
    hub = msgspec.structs.replace(QWEN, id="some/model", source="hub", path=None)
    app = app_with(describe_hub=lambda _id: hub)
    assert snapshot(app, terminal_size=SMALL, run_before=keys("/", *"some/model", "enter"))


def test_fit_with_what_was_measured_last(snapshot, recorded):
    app = app_with(open_store=recorded, gpus=GPUS)
    assert snapshot(app, terminal_size=SMALL, run_before=keys("j", "enter"))


def test_a_goal_before_its_measurement(snapshot):
    app = app_with(planner=None)
    assert snapshot(app, terminal_size=SMALL, run_before=keys("enter", "up", "right"))


def test_a_goal_while_it_is_measured(snapshot):
    now = Progress(NOW, "measure", 5e6, 12e6, 2e6, 4.0, note="model.layers.2.mlp.down_proj")
    app = app_with(planner=None, jobs=JobScripts(plan=FakeJob((now, JobDone(NOW, "", "done")), hold=1)))
    assert snapshot(app, terminal_size=SMALL, run_before=keys("enter", "up", "right", "enter"))


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
def test_a_goal_with_its_plan(snapshot, size):
    app = app_with(gpus=GPUS)
    assert snapshot(app, terminal_size=size, run_before=keys("j", "enter", "up", "right"))


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
def test_the_plan_of_a_goal_before_it_runs(snapshot, size):
    app = app_with()
    assert snapshot(app, terminal_size=size, run_before=keys("enter", "up", "right", "enter"))


@pytest.mark.parametrize("view", ["errors", "plot"])
def test_another_view_of_a_running_job(snapshot, view):
    job = FakeJob(quantize_events(LLAMA), hold=400)
    turns = ("w",) if view == "errors" else ("w", "w")
    app = app_with(jobs=JobScripts(quantize=job), gpus=GPUS)
    pressed = keys("j", "j", "enter", "enter", "enter", *turns)
    assert snapshot(app, terminal_size=SMALL, run_before=pressed)


def test_a_run_that_was_cut_short_is_offered(snapshot):
    app = app_with(unfinished=lambda _store: [cut_short(), cut_short("r0003", "/data/x")])
    assert snapshot(app, terminal_size=SMALL, run_before=keys("3", "r"))


def test_a_job_that_reads_the_weights(snapshot):
    job = FakeJob(quantize_events(DEMO), hold=4)
    app = app_with(jobs=JobScripts(quantize=job))
    assert snapshot(app, terminal_size=SMALL, run_before=keys("enter", "enter", "enter"))
