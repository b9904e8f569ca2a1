"""The console as a whole: the way through with Enter alone, going back, quitting, help, palette, size."""

from dataclasses import replace

import pytest
from textual.widgets import Input

from fqconsole.app.actions import ACTIONS
from fqconsole.app.console import FqConsole
from fqconsole.app.messages import FitChanged
from fqconsole.app.palette import ActionCommands
from fqconsole.app.screens.dialogs import HelpDialog, JumpDialog, LogDrawer, Question
from fqconsole.app.widgets.gpu_strip import GpuStrip
from fqconsole.app.widgets.header_strip import HeaderStrip
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import JobDone, StartEvaluate
from tests.app.conftest import settled
from tests.app.fake_plan import quantize_events
from tests.app.fakes import DEMO, NOW, FakeGpu, FakeGpus, FakeJob, JobScripts, fake_services


def running_quantize(hold=20):
    job = FakeJob(quantize_events(DEMO), hold=hold)
    return job, FqConsole(fake_services(jobs=JobScripts(quantize=job)))


async def press(pilot, *keys):
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


async def test_enter_alone_leads_from_the_first_screen_to_a_session_on_the_result():
    app = FqConsole(fake_services(jobs=JobScripts(quantize=FakeJob(quantize_events(DEMO)))))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        modes = [app.current_mode]
        for _ in range(4):
            await press(pilot, "enter")
            modes.append(app.current_mode)
        assert modes == ["models", "fit", "quantize", "quantize", "session"]
        session = app.workspace.session
        assert session.path == "/data/checkpoints/demo-int4-adaptive"
        assert session.suggested_prompt == DEMO.suggested_prompt
        assert session.parent_run == "r0001"
        assert session.reference_path == DEMO.path


async def test_the_number_of_gpus_chosen_on_fit_goes_with_the_session():
    gpus = FakeGpus((FakeGpu(0), FakeGpu(1)))
    app = FqConsole(fake_services(gpus=gpus, jobs=JobScripts(quantize=FakeJob(quantize_events(DEMO)))))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        app.post_message(FitChanged(replace(app.workspace.choice, gpus=2)))
        await settled(pilot)
        await press(pilot, "enter", "enter", "enter")
        assert (app.current_mode, app.workspace.session.gpus) == ("session", 2)


async def test_digits_switch_screens_and_escape_goes_back():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "6", "3")
        assert app.current_mode == "quantize"
        await press(pilot, "escape")
        assert app.current_mode == "gpus"
        await press(pilot, "escape", "escape", "escape")
        assert app.current_mode == "models"


async def test_digits_are_text_while_an_input_has_the_focus():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", "4", "q")
        assert app.current_mode == "models"
        assert app.screen.query_one(Input).value == "4q"


async def test_quitting_without_a_job_asks_nothing():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


async def test_quitting_with_a_job_asks_and_the_safe_answer_has_the_focus():
    job, app = running_quantize()
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "enter", "enter")
        await pilot.press("ctrl+q")
        await pilot.pause()
        assert isinstance(app.screen, Question)
        assert app.focused.id == "safe"
        await pilot.press("enter")
        await pilot.pause()
        assert not isinstance(app.screen, Question)
        assert app.jobs.active
        await pilot.press("q")
        await pilot.pause()
        await pilot.press("tab", "enter")
        await pilot.pause()
    assert job.cancelled
    assert app.return_code == 0


async def test_quitting_asks_nothing_about_a_job_that_nobody_asked_for():
    job = FakeJob((), hold=0)
    job.script = [JobDone(NOW, "r0009", "done")]
    app = FqConsole(fake_services(jobs=JobScripts(evaluate=job)))
    request = StartEvaluate(run_id="r0009", checkpoint_path="/c", reference_path="/m")
    async with app.run_test() as pilot:
        await settled(pilot)
        await app.jobs.start(request, kind="evaluate", title="measuring demo", unasked=True)
        await pilot.press("q")
        await pilot.pause()
        assert not isinstance(app.screen, Question)
    assert job.cancelled


async def test_the_tab_shows_the_progress_of_a_job_on_every_screen():
    job, app = running_quantize()
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "enter", "enter", "1")
        words = dict(app.screen.query_one(HeaderStrip)._words())
        assert words["quantize"].strip().startswith("3 Quantize ")
        assert words["quantize"].strip().endswith("%")
        job.released.set()
        await app.jobs.settle()
        await settled(pilot)
        assert dict(app.screen.query_one(HeaderStrip)._words())["quantize"] == " 3 Quantize "
        assert any("is done" in note.message for note in app._notifications)


async def test_a_job_that_fails_while_one_looks_elsewhere_says_why():
    from tests.app.fake_plan import failed_events

    job = FakeJob(failed_events(DEMO), hold=5)
    app = FqConsole(fake_services(jobs=JobScripts(quantize=job)))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "enter", "enter", "6")
        job.released.set()
        await app.jobs.settle()
        await settled(pilot)
        notes = [note for note in app._notifications if note.severity == "error"]
        assert "The disk under /data/checkpoints is full" in notes[0].message


async def test_the_palette_finds_an_action_by_its_words_and_runs_it():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        hits = [hit async for hit in ActionCommands(app.screen).search("gpus")]
        assert hits
        await next(hit for hit in hits if "who uses them" in str(hit.text)).command()
        await settled(pilot)
        assert app.current_mode == "gpus"


async def test_help_explains_the_widget_in_focus():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        assert "left and right change it" in app.screen.help_text()


async def test_jump_goes_to_a_screen_or_a_panel_by_one_key_even_while_typing():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", "ctrl+o")
        assert isinstance(app.screen, JumpDialog)
        await press(pilot, "2")
        assert app.current_mode == "fit"
        await press(pilot, "1", "ctrl+o", "a")
        assert app.current_mode == "models"
        assert app.focused is not None


async def test_the_log_drawer_shows_what_a_failed_job_said():
    from tests.app.fake_plan import failed_events

    app = FqConsole(fake_services(jobs=JobScripts(quantize=FakeJob(failed_events(DEMO)))))
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, "enter", "enter", "enter", "f8")
        assert isinstance(app.screen, LogDrawer)
        lines = "\n".join(app.screen.query_one("Log").lines)
        assert "No space left on device" in lines
        await press(pilot, "f8")
        assert not isinstance(app.screen, LogDrawer)


async def test_a_panel_fills_the_screen_and_escape_brings_it_back():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "m")
        assert app.screen.maximized.id == "models-panel"
        await press(pilot, "escape")
        assert app.screen.maximized is None


@pytest.mark.parametrize(
    ("size", "small"), [((79, 24), True), ((80, 23), True), ((80, 24), False), ((20, 5), True)]
)
async def test_a_terminal_that_is_too_small_is_told_in_one_line(size, small):
    app = FqConsole(fake_services())
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        assert app.screen.query_one("#too-small").display is small
        assert app.screen.query_one("#body").display is not small
        await pilot.resize_terminal(100, 30)
        while app.screen.size != (100, 30):
            await pilot.pause()
        await settled(pilot)
        assert app.screen.query_one("#body").display


async def test_a_database_that_cannot_be_opened_is_said_and_the_rest_works():
    def broken():
        raise OperatorError("The run database was written by a newer fqconsole.", "Update fqconsole.")

    app = FqConsole(fake_services(open_store=broken))
    async with app.run_test() as pilot:
        await pilot.pause()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert any("newer fqconsole" in note.message for note in app._notifications)
        await pilot.press("2", "3", "5", "1")
        await pilot.pause()
        assert app.current_mode == "models"
        await app.workers.wait_for_complete()


async def test_the_strip_says_when_there_is_no_gpu():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        text = app.screen.query_one(GpuStrip).text
        assert text == " no NVIDIA GPU: generation runs on the CPU · host memory 3.1 of 23.4 GiB used"


async def test_readings_that_are_missing_are_not_available_and_break_nothing():
    names = ("memory_total", "memory_used", "memory_free", "utilization", "power_watts", "power_limit_watts")
    nothing = FakeGpu(0, temperature=None, sm_clock_mhz=None, **dict.fromkeys(names))
    app = FqConsole(fake_services(gpus=FakeGpus((nothing, *(FakeGpu(i) for i in range(1, 8))))))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        lines = app.screen.query_one(GpuStrip).text.splitlines()
        assert len(lines) == 2
        assert "N/A" in lines[0]
        assert "(+6)" in lines[1]
        assert max(len(line) for line in lines) <= 80
        await press(pilot, "6")
        assert len(app.screen.query("GpuCard")) == 8


async def test_a_click_on_a_name_in_the_first_line_shows_that_screen():
    app = FqConsole(fake_services())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.click(HeaderStrip, offset=(66, 0))
        await settled(pilot)
        assert app.current_mode == "gpus"


async def test_a_click_on_a_key_in_the_last_line_does_what_it_says():
    app = FqConsole(fake_services())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.click("KeyFooter", offset=(1, 0))
        await pilot.pause()
        assert isinstance(app.screen, HelpDialog)


def test_every_binding_has_its_id_and_a_tooltip():
    for item in ACTIONS:
        binding = item.binding()
        assert (binding.id, binding.tooltip) == (item.id, item.description)
