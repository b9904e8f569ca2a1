"""Models, Fit, Quantize and GPUs by keys: what they show and ask for, how they take what goes wrong."""

import threading

import msgspec
import pytest
from textual.widgets import Input, Static

from fqconsole.app.console import FqConsole
from fqconsole.app.messages import ModelChosen, SessionWanted
from fqconsole.app.screens.dialogs import Explanation, PickOne, Question
from fqconsole.app.widgets.job_bar import JobBar
from fqconsole.app.widgets.key_footer import KeyFooter
from fqconsole.app.widgets.memory_breakdown import MemoryBreakdown
from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import EvaluationDone, JobDone, Pause, StartEvaluate, StartQuantize
from fqconsole.models.description import ModelEntry, QuantizationInfo
from tests.app import fake_fit
from tests.app.conftest import settled
from tests.app.fake_plan import failed_events, quantize_events
from tests.app.fakes import BROKEN, DEMO, ENTRIES, NOW, QWEN, FakeJob, JobScripts, entry, fake_services


def footer(app):
    return app.screen.query_one(KeyFooter).text


def notes(app):
    return [note.message for note in app._notifications]


def head(app):
    return str(app.screen.query_one(JobBar).render())


async def press(pilot, *keys):
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


# Models


async def test_models_are_listed_with_the_built_in_ones_first_and_described():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        table = app.screen.query_one(RecordTable)
        assert table.row_count == len(ENTRIES)
        assert table.current == "builtin:demo"
        assert table.text_of("cache:Qwen/Qwen3-8B", "parameters") == "8.2B"
        assert "✓ 16-bit" in table.text_of("cache:Qwen/Qwen3-8B", "best")
        assert "8 layers" in str(app.screen.query_one("#models-about", Static).render()) or DEMO.layers != 8


async def test_the_mark_of_the_cursor_moves_with_j_k_g_and_shift_g():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        table = app.screen.query_one(RecordTable)
        for key, row in (("j", 1), ("down", 2), ("k", 1), ("G", len(ENTRIES) - 1), ("g", 0)):
            await press(pilot, key)
            lines = [table.render_line(y).text for y in range(1, table.row_count + 1)]
            assert [line.startswith("▌ ") for line in lines].index(True) == row
            assert sum("▌" in line for line in lines) == 1


async def test_the_filter_narrows_the_list_and_escape_shows_all_again():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"qwen3-")
        assert app.screen.query_one(RecordTable).row_count == 2
        await press(pilot, "enter")
        assert app.focused is app.screen.query_one(RecordTable)
        await press(pilot, "escape")
        assert app.screen.query_one(RecordTable).row_count == len(ENTRIES)
        assert app.screen.query_one(Input).value == ""


async def test_a_filter_that_matches_nothing_says_what_to_do():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"zzz")
        empty = app.screen.query_one("#models-empty", Static)
        assert empty.display
        assert "Esc shows all" in str(empty.render())


async def test_a_hub_id_is_looked_up_and_offline_is_a_sentence():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"some/model")
        assert "look it up" in str(app.screen.query_one("#models-empty", Static).render())
        await press(pilot, "enter")
        assert "can't be reached" in str(app.screen.query_one("#models-about", Static).render())


async def test_a_hub_model_is_previewed_before_any_download_and_d_downloads_it():
    hub = msgspec.structs.replace(QWEN, id="some/model", source="hub", path=None)
    jobs = JobScripts(download=FakeJob((JobDone(NOW, "r0001", "done"),)))
    app = FqConsole(fake_services(describe_hub=lambda _id: hub, jobs=jobs))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"some/model", "enter", "enter")
        assert "d download" in footer(app)
        await press(pilot, "d")
        assert jobs.started[0][0].model_id == "some/model"
        await press(pilot, "enter")
        assert app.current_mode == "fit"
        await press(pilot, "enter")
        assert app.current_mode == "fit"
        assert any("press d to download" in text for text in notes(app))


async def test_an_unusable_model_says_why_and_is_not_chosen():
    chosen = []
    app = FqConsole(fake_services(entries=[BROKEN]))
    async with app.run_test(
        message_hook=lambda m: chosen.append(m) if isinstance(m, ModelChosen) else None
    ) as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        assert notes(app) == [BROKEN.problem]
        assert app.current_mode == "models"
    assert chosen == []


async def test_enter_before_a_description_is_read_opens_the_model_when_it_is():
    gate = threading.Event()

    def describe(item):
        gate.wait(10)
        return DEMO

    app = FqConsole(fake_services(entries=[entry(DEMO)], describe=describe))
    async with app.run_test() as pilot:
        while app.screen.query_one(RecordTable).row_count == 0:
            await pilot.pause()
        await pilot.press("enter")
        assert app.current_mode == "models"
        gate.set()
        await settled(pilot)
        assert app.current_mode == "fit"


async def test_a_model_whose_description_fails_stays_in_the_list_with_its_problem():
    def describe(item):
        if item.id == QWEN.id:
            raise OperatorError("model-00002-of-00005.safetensors is missing.", "Download it again.")
        return DEMO

    app = FqConsole(fake_services(entries=[entry(DEMO), entry(QWEN)], describe=describe))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "j")
        text = str(app.screen.query_one("#models-about", Static).render())
        assert text == "model-00002-of-00005.safetensors is missing. Download it again."


async def test_enter_on_a_quantized_checkpoint_opens_a_session_on_it():
    made = msgspec.structs.replace(
        DEMO,
        id="/data/demo-int4",
        source="folder",
        quantization=QuantizationInfo("compressed-tensors", 4, (64,), True),
    )
    item = ModelEntry("/data/demo-int4", "folder", "/data/demo-int4")
    wanted = []
    app = FqConsole(fake_services(entries=[item], describe=lambda _item: made))
    hook = lambda m: wanted.append(m.session) if isinstance(m, SessionWanted) else None  # noqa: E731
    async with app.run_test(message_hook=hook) as pilot:
        await settled(pilot)
        assert "⏎ talk" in footer(app)
        await press(pilot, "enter")
        assert app.current_mode == "session"
    assert wanted[0].path == "/data/demo-int4"
    assert wanted[0].bits == 4


async def test_no_models_at_all_says_what_to_press():
    app = FqConsole(fake_services(entries=[]))
    async with app.run_test() as pilot:
        await settled(pilot)
        assert "Press r to look again" in str(app.screen.query_one("#models-empty", Static).render())
        await press(pilot, "enter", "d", "s")
        assert app.current_mode == "models"


async def test_names_with_brackets_are_shown_as_they_are():
    odd = msgspec.structs.replace(DEMO, id="me/[bold]odd[/bold]", path="/m/odd")
    item = ModelEntry(odd.id, "folder", "/m/odd")
    app = FqConsole(fake_services(entries=[item], describe=lambda _item: odd))
    async with app.run_test() as pilot:
        await settled(pilot)
        assert app.screen.query_one(RecordTable).text_of("folder:" + odd.id, "model") == "bold]"
        await press(pilot, "enter", "enter")
        assert app.current_mode == "quantize"


# Fit


async def test_changing_a_choice_computes_everything_again():
    asked = []

    def preview(*arguments, **choice):
        asked.append(choice)
        return fake_fit.preview(*arguments, **choice)

    app = FqConsole(fake_services(preview=preview))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        asked.clear()
        await press(pilot, "right")
        assert app.workspace.choice.bits == 3
        await press(pilot, "down", "down", "down", "left")
        assert app.workspace.choice.context == 256
        assert asked[-1]["context"] == 256
        await press(pilot, "down", "right")
        assert (asked[-1]["batch"], app.workspace.preview.batch) == (2, 2)


async def test_another_model_starts_with_the_usual_choices():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "down", "down", "down", "left", "escape", "j", "enter")
        assert app.workspace.description.id == QWEN.id
        assert app.workspace.choice.context is None
        assert app.workspace.preview.model == QWEN.id


async def test_the_fit_of_another_gpu_is_simulated_and_can_be_taken_back():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "j", "enter", "s")
        assert isinstance(app.screen, PickOne)
        await press(pilot, "down", "enter")
        assert app.workspace.preview.capacity.name == "a100-40gb"
        assert "not here" in str(app.screen.query_one("#fit-memory").border_title)
        await press(pilot, "s", "enter")
        assert app.workspace.preview.capacity.kind == "host"


async def test_every_term_is_explained():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "e")
        assert isinstance(app.screen, Explanation)
        text = "\n".join(str(widget.render()) for widget in app.screen.query(Static))
        assert "embed, lm_head" in text


async def test_sixteen_bits_that_fit_open_a_session_and_those_that_do_not_ask_first():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "j", "j", "enter", "t")
        assert isinstance(app.screen, Question)
        await press(pilot, "enter")
        assert app.current_mode == "fit"
        await press(pilot, "t", "tab", "enter")
        assert app.current_mode == "session"
        assert app.workspace.session.bits == 16
        await press(pilot, "ctrl+o", "1", "g", "enter", "t")
        assert app.workspace.session.path == DEMO.path


async def test_enter_at_sixteen_bits_talks_instead_of_quantizing():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "left", "left")
        assert "⏎ talk" in footer(app)
        await press(pilot, "enter")
        assert app.current_mode == "session"


async def test_a_preview_that_fails_is_a_sentence_in_its_panel():
    def preview(*_arguments, **_choice):
        raise OperatorError("The attention of this model is unknown.", "Update fqconsole.")

    app = FqConsole(fake_services(entries=[entry(DEMO)]))
    async with app.run_test() as pilot:
        await settled(pilot)
        object.__setattr__(app.services, "preview", preview)
        await press(pilot, "enter")
        assert "attention of this model" in str(app.screen.query_one(MemoryBreakdown).render())


async def test_fit_without_a_model_leads_back_to_the_list():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "2")
        assert app.screen.query_one("#fit-empty").display
        await press(pilot, "e", "t", "right", "enter")
        assert app.current_mode == "models"


# Quantize


def console(job, **changes):
    scripts = JobScripts(quantize=job)
    return scripts, FqConsole(fake_services(jobs=scripts, **changes))


async def to_plan(pilot):
    await settled(pilot)
    await press(pilot, "enter", "enter")


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
        assert "range halves" in str(app.screen.query_one("#quantize-worst").border_subtitle)
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
