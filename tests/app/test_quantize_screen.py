"""The Quantize screen by keys: the plan, the job live, its end, and going on with one cut short."""

import pytest

from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import EvaluationDone, JobDone, Pause, StartEvaluate, StartQuantize
from tests.app.conftest import settled
from tests.app.fake_plan import failed_events, quantize_events
from tests.app.fakes import DEMO, NOW, FakeJob
from tests.app.screen_driver import console, footer, head, notes, press, to_plan


async def test_what_will_happen_is_said_before_it_happens():
    scripts, app = console(FakeJob(quantize_events(DEMO)))
    async with app.run_test(size=(80, 24)) as pilot:
        await to_plan(pilot)
        text = head(app)
        for word in (
            "reads",
            "writes",
            "3.8 MiB",
            "disk",
            "/data/checkpoints/demo-int4-adaptive",
            "Press ⏎ to start",
        ):
            assert word in text
        assert scripts.started == []
        await press(pilot, "enter")
        request = scripts.started[0][0]
    assert request == StartQuantize(
        run_id="r0001",
        model_id="demo",
        model_path=DEMO.path,
        out="/data/checkpoints/demo-int4-adaptive",
        bits=4,
    )


async def test_the_choice_of_the_fit_screen_is_what_is_started():
    scripts, app = console(FakeJob(quantize_events(DEMO)))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "left", "down", "right", "right", "right", "enter", "enter")
    request = scripts.started[0][0]
    assert (request.bits, request.granularity, request.group_size) == (8, "fixed", 128)


async def test_a_full_disk_is_said_before_the_start():
    scripts, app = console(FakeJob(()), disk_free=lambda _path: 1 << 20)
    async with app.run_test() as pilot:
        await to_plan(pilot)
        assert "✗ not enough" in head(app)
        await press(pilot, "enter")
    assert scripts.started == []


async def test_space_pauses_and_goes_on():
    job = FakeJob(quantize_events(DEMO), hold=30)
    _scripts, app = console(job)
    async with app.run_test() as pilot:
        await to_plan(pilot)
        await press(pilot, "enter")
        assert "space pause" in footer(app)
        await press(pilot, "space")
        assert [type(request) for request in job.asked] == [Pause]
        job.released.set()


async def test_cancel_asks_first_and_keeps_the_folder_for_a_resume():
    job = FakeJob(quantize_events(DEMO), hold=30)
    scripts, app = console(job)
    async with app.run_test() as pilot:
        await to_plan(pilot)
        await press(pilot, "enter", "x", "enter")
        assert not job.cancelled
        await press(pilot, "x", "tab", "enter")
        await app.jobs.settle()
        await settled(pilot)
        assert job.cancelled
        assert "Cancelled" in head(app)
        assert "⏎ resume" in footer(app)
        await press(pilot, "enter")
        assert scripts.started[1][0].out == scripts.started[0][0].out


async def test_a_failed_job_says_what_and_what_next_and_can_be_tried_again():
    scripts, app = console(FakeJob(failed_events(DEMO)))
    async with app.run_test() as pilot:
        await to_plan(pilot)
        await press(pilot, "enter")
        assert "The disk under /data/checkpoints is full" in head(app)
        assert "Free some space" in head(app)
        await press(pilot, "enter")
        assert len(scripts.started) == 2


async def test_the_result_is_measured_on_request():
    done = EvaluationDone(NOW, "r0002", 5.42, 5.31, 0.0213, 0.953, 32_768, 12.0)
    scripts, app = console(FakeJob(quantize_events(DEMO)))
    scripts.scripts["evaluate"] = FakeJob((done, JobDone(NOW, "r0002", "done")))
    async with app.run_test(size=(100, 30)) as pilot:
        await to_plan(pilot)
        await press(pilot, "enter")
        assert "v measures what was lost" in head(app)
        await press(pilot, "v")
        assert "perplexity 5.310 → 5.420 (+2.1 %) · KL 0.0213 · same top token 95.3 %" in head(app)
    request = scripts.started[1][0]
    assert isinstance(request, StartEvaluate)
    assert (request.checkpoint_path, request.reference_path) == (
        "/data/checkpoints/demo-int4-adaptive",
        DEMO.path,
    )


async def test_another_choice_shows_its_own_plan_and_coming_back_shows_the_finished_job():
    _scripts, app = console(FakeJob(quantize_events(DEMO)))
    async with app.run_test() as pilot:
        await to_plan(pilot)
        await press(pilot, "enter", "escape", "left", "enter")
        assert "Press ⏎ to start" in head(app)
        assert "int8" in str(app.screen.query_one("#quantize-head").border_title)
        await press(pilot, "escape", "right", "enter")
        assert "Press ⏎ to talk to it" in head(app)


async def test_a_screen_opened_late_shows_the_whole_job():
    job = FakeJob(quantize_events(DEMO), hold=40)
    _scripts, app = console(job)
    async with app.run_test() as pilot:
        await settled(pilot)
        request = StartQuantize(run_id="r0001", model_id="demo", model_path="/m", out="/o", bits=4)
        await app.jobs.start(request, kind="quantize", title="demo → int4")
        await settled(pilot)
        await press(pilot, "3")
        assert app.screen.query_one(RecordTable).row_count == 17
        assert "matrix 17/36" in head(app)
        job.released.set()


async def test_the_worst_matrix_is_first_and_its_reason_is_shown():
    _scripts, app = console(FakeJob(quantize_events(DEMO)))
    async with app.run_test() as pilot:
        await to_plan(pilot)
        await press(pilot, "enter")
        table = app.screen.query_one(RecordTable)
        errors = [float(table.texts(row)[-1]) for row in range(table.row_count)]
        assert errors == sorted(errors, reverse=True)
        assert "range halves" in str(app.screen.query_one("#quantize-reason").render())
        await press(pilot, "s")
        assert table.texts(0)[0] == "0"


@pytest.mark.parametrize("keys", [("3",), ("2", "3")])
async def test_quantize_without_a_model_leads_back_to_the_list(keys):
    _scripts, app = console(FakeJob(()))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, *keys)
        assert "No model is chosen yet" in head(app)
        await press(pilot, "space", "x", "v", "enter")
        assert app.current_mode == "models"


async def test_a_run_that_cannot_be_recorded_is_not_started_and_says_why():
    class Broken:
        def begin_quantize(self, _store, **_options):
            raise OperatorError("The disk with the run database is full.", "Free some space.")

    scripts, app = console(FakeJob(()), begin=Broken())
    async with app.run_test() as pilot:
        await to_plan(pilot)
        await press(pilot, "enter")
        assert any("database is full" in text for text in notes(app))
    assert scripts.started == []
