"""Pictures of Models, Fit, Quantize, GPUs and the dialogs in their states, at 80×24 and larger.

Make them again with `pytest tests/app --snapshot-update`, and look at them before committing.
"""

import pytest

from fqconsole.app.console import FqConsole
from fqconsole.jobs.messages import EvaluationDone, JobDone
from tests.app.conftest import settled
from tests.app.fake_plan import failed_events, quantize_events
from tests.app.fakes import (
    DEMO,
    GIB,
    LLAMA,
    NOW,
    FakeGpu,
    FakeGpus,
    FakeJob,
    FakeProcess,
    JobScripts,
    fake_services,
)

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)
BUSY = FakeGpu(
    0,
    memory_used=int(54.1 * GIB),
    memory_free=int(25.5 * GIB),
    utilization=97.0,
    power_watts=412.0,
    temperature=72.0,
    sm_clock_mhz=1755.0,
    throttle=("power cap",),
    processes=(
        FakeProcess(27465, "fqconsole worker r0043", "root", int(53.4 * GIB), True),
        FakeProcess(1203, "jupyter-kernel", "other", GIB // 2, False),
    ),
)
UNSEEN = FakeProcess(None, "not visible from this container", "?", None, False)
IDLE = FakeGpu(1, processes=(UNSEEN,))
BLIND = FakeGpu(
    2, memory_total=None, memory_used=None, memory_free=None, utilization=None, power_watts=None,
    power_limit_watts=None, temperature=None, sm_clock_mhz=None,
)  # fmt: skip
TWO = FakeGpus((BUSY, IDLE))


def keys(*names):
    async def run(pilot):
        await settled(pilot)
        for name in names:
            await pilot.press(name)
            await settled(pilot)

    return run


def app_with(job=None, evaluation=None, **changes):
    scripts = {"quantize": job or FakeJob(()), "evaluate": evaluation or FakeJob(())}
    return FqConsole(fake_services(jobs=JobScripts(**scripts), **changes))


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
def test_models(snapshot, size):
    assert snapshot(app_with(gpus=TWO), terminal_size=size, run_before=keys())


def test_models_without_gpu_on_an_unusable_one(snapshot):
    assert snapshot(app_with(), terminal_size=SMALL, run_before=keys("G"))


def test_models_filter_finds_nothing(snapshot):
    assert snapshot(app_with(), terminal_size=SMALL, run_before=keys("/", *"org/name"))


def test_fit_on_the_cpu(snapshot):
    assert snapshot(app_with(), terminal_size=SMALL, run_before=keys("enter"))


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
def test_fit_that_does_not_fit(snapshot, size):
    app = app_with(gpus=TWO)
    assert snapshot(app, terminal_size=size, run_before=keys("j", "j", "enter", "left", "left"))


def test_fit_explained(snapshot):
    assert snapshot(app_with(gpus=TWO), terminal_size=SMALL, run_before=keys("j", "enter", "e"))


def test_fit_without_a_model(snapshot):
    assert snapshot(app_with(), terminal_size=SMALL, run_before=keys("2"))


def test_quantize_ready(snapshot):
    assert snapshot(app_with(), terminal_size=SMALL, run_before=keys("enter", "enter"))


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])
def test_quantize_running(snapshot, size):
    app = app_with(FakeJob(quantize_events(LLAMA), hold=400), gpus=TWO)
    assert snapshot(app, terminal_size=size, run_before=keys("j", "j", "enter", "enter", "enter"))


def test_quantize_done_and_measured(snapshot):
    measured = EvaluationDone(NOW, "r0002", 5.42, 5.31, 0.0213, 0.953, 32_768, 12.0)
    app = app_with(FakeJob(quantize_events(DEMO)), FakeJob((measured, JobDone(NOW, "r0002", "done"))))
    assert snapshot(app, terminal_size=SMALL, run_before=keys("enter", "enter", "enter", "v"))


def test_quantize_failed(snapshot):
    app = app_with(FakeJob(failed_events(DEMO)))
    assert snapshot(app, terminal_size=SMALL, run_before=keys("enter", "enter", "enter"))


def test_cancel_is_asked(snapshot):
    app = app_with(FakeJob(quantize_events(DEMO), hold=30))
    assert snapshot(app, terminal_size=SMALL, run_before=keys("enter", "enter", "enter", "x"))


def test_gpus_without_any(snapshot):
    gpus = FakeGpus(problem="The NVIDIA driver is not loaded: libnvidia-ml.so.1 was not found.")
    assert snapshot(app_with(gpus=gpus), terminal_size=SMALL, run_before=keys("6"))


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
def test_gpus(snapshot, size):
    assert snapshot(app_with(gpus=TWO), terminal_size=size, run_before=keys("6"))


def test_gpus_four_with_one_that_tells_nothing(snapshot):
    gpus = FakeGpus((BUSY, IDLE, BLIND, FakeGpu(3, name="NVIDIA GeForce RTX 4090")))
    assert snapshot(app_with(gpus=gpus), terminal_size=SMALL, run_before=keys("6"))


def test_help(snapshot):
    assert snapshot(app_with(), terminal_size=SMALL, run_before=keys("enter", "f1"))


def test_jump(snapshot):
    assert snapshot(app_with(), terminal_size=SMALL, run_before=keys("enter", "ctrl+o"))


def test_too_small(snapshot):
    assert snapshot(app_with(), terminal_size=(60, 20), run_before=keys())
