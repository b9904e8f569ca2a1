"""What was lost and won: measured after the first answer or when asked, giving way to answers."""

import pytest

from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.app.widgets.session_panel import SessionPanel
from fqconsole.jobs.messages import Pause, Resume, StartEvaluate
from tests.app.session_driver import stage_in
from tests.app.session_fakes import RecordedMeasurement


@pytest.fixture
def on_stage(tmp_path):
    return stage_in(tmp_path)


async def test_a_built_in_model_is_measured_by_itself_after_the_first_answer(on_stage):
    async with on_stage() as driver:
        assert driver.balance == ""
        await driver.keys("enter")
        started = [request for request in driver.stage.workers.started if isinstance(request, StartEvaluate)]
        assert len(started) == 1 and started[0].reference_path.endswith("demo")
        assert "measuring" in driver.balance
        driver.stage.measurement.release()
        await driver.settle()
        assert "perplexity 1.885 → 1.880" in driver.balance and "3.1 times smaller" in driver.balance
        await driver.keys("f5")
        assert len(driver.stage.workers.started) == 2
    assert driver.run("r0003").row.kind == "evaluate"


async def test_another_model_is_measured_only_when_asked(on_stage):
    async with on_stage(model_id="org/[big] model") as driver:
        await driver.keys("enter")
        assert "F10 measures it" in driver.balance
        await driver.keys("f10")
        assert "measuring" in driver.balance


async def test_measuring_is_held_while_an_answer_is_written_and_goes_on_after(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter")
        driver.screen.query_one(PromptField).write("more")
        await driver.keys("enter")
        asked = [type(request) for request in driver.stage.measurement.asked]
        assert asked == [Pause, Resume]
        assert len(driver.stage.first.sends) == 2


async def test_esc_ends_measuring_then_leaves_the_prompt_then_goes_back(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter", "escape")
        assert driver.stage.measurement.cancelled
        assert "stopped; F10" in driver.balance
        assert driver.screen.query_one(PromptField).has_focus
        await driver.keys("escape")
        assert driver.screen.query_one(SessionPanel).transcript.has_focus
        await driver.keys("escape")
        assert driver.app.current_mode == "models"


async def test_what_was_measured_before_is_shown_without_measuring_again(on_stage):
    async with on_stage() as driver:
        with driver.stage.open_store() as store:
            number = store.begin_run(
                "evaluate", "demo", path=driver.stage.choice.path, options={}, host={}, pid=1, pid_started=0,
                parent="r0001", bits=4,
            )  # fmt: skip
            store.add_metrics(
                number,
                {"perplexity": 2.1, "reference_perplexity": 2.0, "kl_divergence": 0.01, "top1_agreement": 0.9,
                 "tokens": 100},
            )  # fmt: skip
            store.finish_run(number, "done")
        await driver.screen._measurement.look_up()
        await driver.keys("enter")
        assert "perplexity 2.000 → 2.100 (+5.0 %)" in driver.balance
        assert not any(isinstance(request, StartEvaluate) for request in driver.stage.workers.started)


async def test_the_measurement_of_another_screen_is_taken_over(on_stage):
    async with on_stage(measurement=RecordedMeasurement()) as driver:
        stage = driver.stage
        await driver.app.jobs.start(
            StartEvaluate(run_id="", checkpoint_path=stage.choice.path, reference_path=str(stage.original)),
            kind="evaluate",
            title="measuring",
        )
        await driver.settle()
        assert "perplexity 1.885 → 1.880" in driver.balance
