"""The Quantize screen by keys: the plan, the job live, its end, and going on with one cut short."""

from dataclasses import replace

import msgspec
import pytest
from textual.widgets import Static

from fqconsole.app.messages import FitChanged
from fqconsole.app.model_parts import ModelParts
from fqconsole.app.screens.dialogs import PickOne, Question
from fqconsole.app.unfinished import Unfinished
from fqconsole.app.widgets.matrix_map import MatrixMap
from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import EvaluationDone, JobDone, Pause, StartEvaluate, StartQuantize
from store import Store
from tests.app import fake_fit
from tests.app.conftest import settled
from tests.app.fake_plan import FakePlanner, failed_events, quantize_events
from tests.app.fakes import DEMO, NOW, FakeJob
from tests.app.run_seeds import begin
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


async def test_head_and_experts_are_told_started_and_shown_as_a_command():
    scripts, app = console(FakeJob(quantize_events(DEMO)), parts=lambda _about: ModelParts(True, True))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "down", "down", "down", "right", "down", "right", "enter")
        assert "head int8, experts by layer" in str(app.screen.query_one("#quantize-head").border_title)
        command = "fqconsole quantize demo --bits 4 --mode best --experts layer --head 8"
        assert f"command {command}" in head(app)
        await press(pilot, "enter")
        request = scripts.started[0][0]
        assert (request.head, request.experts) == (8, "layer")
        assert request.out.endswith("-head8")
        await press(pilot, "escape", "left", "enter")
        assert "Press ⏎ to start" in head(app)  # the finished job was made by other choices


async def test_a_full_disk_is_said_before_the_start():
    scripts, app = console(FakeJob(()), disk_free=lambda _path: 1 << 20)
    async with app.run_test() as pilot:
        await to_plan(pilot)
        assert "✗ not enough" in head(app)
        assert "Free some space there first." in head(app) and "Press ⏎" not in head(app)
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


# Going on with what was cut short


def cut_short(run_id="r0007", out="/data/checkpoints/demo-int8", **options):
    chosen = {"model_id": "demo", "model_path": DEMO.path, "out": out, "bits": 8, "granularity": "fixed"}
    return Unfinished(run_id, "demo", "interrupted", NOW - 720, 3, {**chosen, "mode": "fast", **options})


async def test_a_run_that_was_cut_short_is_offered_and_gone_on_with_by_r():
    scripts, app = console(FakeJob(quantize_events(DEMO)), unfinished=lambda _store: [cut_short()])
    async with app.run_test() as pilot:
        await to_plan(pilot)
        assert "r goes on with r0007, which did not end." in head(app)
        assert "r resume" in footer(app)
        await press(pilot, "r")
        assert isinstance(app.screen, PickOne)
        await press(pilot, "enter")
        request = scripts.started[0][0]
        assert (request.out, request.bits, request.granularity, request.mode) == (
            "/data/checkpoints/demo-int8", 8, "fixed", "fast",
        )  # fmt: skip
        assert "demo → int8 fixed" in str(app.screen.query_one("#quantize-head").border_title)
        assert "Press ⏎ to talk to it" in head(app)


async def test_a_run_can_be_gone_on_with_before_any_model_is_chosen():
    scripts, app = console(FakeJob(()), unfinished=lambda _store: [cut_short(), cut_short("r0003", "/o/x")])
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "3", "r", "down", "enter")
        assert scripts.started[0][0].out == "/o/x"


async def test_there_is_nothing_to_go_on_with_and_r_says_so():
    scripts, app = console(FakeJob(quantize_events(DEMO), hold=20))
    async with app.run_test() as pilot:
        await to_plan(pilot)
        assert "resume" not in footer(app)
        await press(pilot, "r")
        assert "No run is waiting to be gone on with." in notes(app)
        await press(pilot, "enter", "r")
        assert any("still runs" in text for text in notes(app))
        scripts.started[0][1].released.set()


async def test_a_planned_job_that_was_cancelled_goes_on_with_its_plan():
    job = FakeJob(quantize_events(DEMO), hold=20)
    scripts, app = console(job, planner=lambda about, _mode: FakePlanner(about))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "up", "right", "enter")
        assert "3.25 bits a weight, predicted loss 1.56 %" in head(app)
        assert app.screen.query_one(RecordTable).row_count == 36
        await press(pilot, "enter")
        request = scripts.started[0][0]
        assert (request.granularity, request.bits) == ("planned", 3)
        assert request.plan_path == "/cache/plans/4-bits-per-weight.json"
        await press(pilot, "x", "tab", "enter")
        await app.jobs.settle()
        await settled(pilot)
        await press(pilot, "enter")
        assert msgspec.structs.replace(scripts.started[1][0], run_id="r0001") == request


# Views


async def test_w_turns_between_bits_errors_and_the_plot():
    _scripts, app = console(FakeJob(quantize_events(DEMO)))
    async with app.run_test(size=(80, 24)) as pilot:
        await to_plan(pilot)
        await press(pilot, "enter")
        panel, drawn = app.screen.query_one("#quantize-map-panel"), app.screen.query_one(MatrixMap)
        assert "4T" in drawn.render_line(1).text
        assert panel.border_subtitle == "S 64 · T 32"
        await press(pilot, "w")
        assert "9 = 0.117 · + finer" in panel.border_subtitle
        assert "9+" in "".join(drawn.render_line(y).text for y in range(1, 7))
        await press(pilot, "w")
        assert not panel.display and app.screen.query_one("#quantize-plot-panel").display
        await press(pilot, "w")
        assert panel.display and not app.screen.query_one("#quantize-plot-panel").display


async def test_map_and_plot_stand_together_where_there_is_room():
    _scripts, app = console(FakeJob(quantize_events(DEMO)))
    async with app.run_test(size=(120, 40)) as pilot:
        await to_plan(pilot)
        await press(pilot, "enter", "w", "w")
        assert app.screen.query_one("#quantize-map-panel").display
        assert app.screen.query_one("#quantize-plot-panel").display


async def test_arrows_and_the_mouse_look_at_one_matrix_of_the_map():
    _scripts, app = console(FakeJob(quantize_events(DEMO)))
    async with app.run_test(size=(100, 30)) as pilot:
        await to_plan(pilot)
        await press(pilot, "enter")
        drawn = app.screen.query_one(MatrixMap)
        drawn.focus()
        await press(pilot, "right", "down", "down", *("right",) * 9, "right")
        assert drawn.picked.name == "model.layers.2.mlp.down_proj"
        text = str(app.screen.query_one("#quantize-reason", Static).render())
        assert text.startswith("layer 2 down_proj · int4 groups of 32 · error .")
        assert "range halves" in text
        assert app.screen.query_one(RecordTable).current == drawn.picked.name
        await pilot.click(MatrixMap, offset=(2, 4))
        await settled(pilot)
        assert drawn.picked.name == "model.layers.3.self_attn.q_proj"


async def test_memory_is_shown_against_what_was_predicted_while_it_runs():
    job = FakeJob(quantize_events(DEMO), hold=20)
    _scripts, app = console(job)
    async with app.run_test() as pilot:
        await to_plan(pilot)
        await press(pilot, "enter")
        assert "peak 488 MiB of 13.8 MiB predicted ! more" in head(app)
        job.released.set()


async def test_the_time_is_told_from_an_earlier_run_here(tmp_path):
    def open_store():
        return Store.open(tmp_path / "runs.db")

    with open_store() as store:
        begin(
            store, "quantize", "demo", ago=100, took=7, options={"mode": "best", "out": "/o"},
            metrics={"source_bytes": float(DEMO.bytes)},
        )  # fmt: skip
    _scripts, app = console(FakeJob(()), open_store=open_store)
    async with app.run_test() as pilot:
        await to_plan(pilot)
        assert "~7.0 s  as r0001 took here, mode best" in head(app)


async def test_too_little_memory_is_asked_about_before_the_start():
    small = fake_fit.FakeCapacity("this machine's memory", 16 << 20, 8 << 20, "host")
    scripts, app = console(FakeJob(()), capacity_here=lambda _readings: small)
    async with app.run_test() as pilot:
        await to_plan(pilot)
        assert "8.0 MiB free here ✗ not enough" in head(app)
        await press(pilot, "enter")
        assert isinstance(app.screen, Question)
        await press(pilot, "enter")
        assert scripts.started == []
        await press(pilot, "enter", "tab", "enter")
        assert len(scripts.started) == 1


@pytest.mark.parametrize(("granularity", "word"), [("matrix", "at least "), ("fixed", "")])
async def test_groups_that_may_come_out_finer_are_not_told_as_decided(granularity, word):
    _scripts, app = console(FakeJob(()))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        app.post_message(FitChanged(replace(app.workspace.choice, granularity=granularity)))
        await settled(pilot)
        await press(pilot, "enter")
        assert f"MiB  {word}4." in head(app)
        assert ("·" in app.screen.query_one(MatrixMap).render_line(1).text) == bool(word)
