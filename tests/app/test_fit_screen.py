"""The Fit screen by keys: choices, goals, simulated GPUs, and where Enter leads."""

from textual.widgets import Static

from fqconsole.app.console import FqConsole
from fqconsole.app.screens.dialogs import Explanation, PickOne, Question
from fqconsole.app.widgets.memory_breakdown import MemoryBreakdown
from fqconsole.errors import OperatorError
from tests.app import fake_fit
from tests.app.conftest import settled
from tests.app.fakes import DEMO, QWEN, entry, fake_services
from tests.app.screen_driver import footer, press


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
        await press(pilot, "down", "down", "down", "down", "left")
        assert app.workspace.choice.context == 256
        assert asked[-1]["context"] == 256
        await press(pilot, "down", "right")
        assert (asked[-1]["batch"], app.workspace.preview.batch) == (2, 2)


async def test_another_model_starts_with_the_usual_choices():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "enter", "down", "down", "down", "down", "left", "escape", "j", "enter")
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
