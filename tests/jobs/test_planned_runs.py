"""A planned run follows the plan that it was begun with, whatever became of the plan's file."""

import pytest

from fqconsole.cli.output import Output
from fqconsole.cli.resuming import resumed
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import StartQuantize
from fqconsole.jobs.tasks.quantize import _planned
from fqconsole.models import describe, resolve_model
from quantizer.candidate_errors import measure_candidates
from quantizer.engine import quantize
from quantizer.measured import load_plan, plan_path, save_plan
from quantizer.methods import MODES
from quantizer.planner import Planner
from quantizer.watch import Cancelled, SilentWatch


class EndsEarly(SilentWatch):
    """Cancels once most of the work is done."""

    def progress(self, done, **_):
        self.done = done

    def checkpoint(self):
        if getattr(self, "done", 0) > 9_000_000:
            raise Cancelled


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path / "home"))
    description = describe(resolve_model("demo"))
    planner = Planner(description, measure_candidates(description, methods=MODES["fast"], device="cpu"))
    return planner.within_bits(4, "4 bits per weight")


def request(out, path):
    return StartQuantize(
        run_id="r0001",
        model_id="demo",
        model_path="/m",
        out=str(out),
        bits=4,
        granularity="planned",
        plan_path=str(path),
    )


def test_a_run_that_was_ended_goes_on_with_its_plan(tmp_path, plan):
    path, out = save_plan(plan), tmp_path / "out"
    assert _planned(request(out, path)) == plan
    description = describe(resolve_model("demo"))
    with pytest.raises(Cancelled):
        quantize(description, plan, out, device="cpu", watch=EndsEarly(), part_bytes=2_000_000)
    path.unlink()
    assert _planned(request(out, path)) == plan
    model, folder, options = resumed(None, Output(), str(out), "")
    assert (model, folder, options["granularity"]) == ("demo", out, "planned")
    assert load_plan(plan_path(plan)) == plan  # made again for the new worker
    assert options["plan_path"] == str(path)
    quantize(description, _planned(request(out, path)), out, device="cpu", part_bytes=2_000_000)
    assert (out / "config.json").is_file()


def test_without_its_plan_a_run_that_finished_nothing_says_so(tmp_path, plan):
    path = plan_path(plan)
    with pytest.raises(OperatorError, match="is gone") as told:
        _planned(request(tmp_path / "out", path))
    assert "Plan again" in told.value.next_step
