"""Keys that the operator gave to actions: they work and are shown; a wrong one is told at the start."""

import pytest

from fqconsole.app.actions import ACTIONS
from fqconsole.app.console import FqConsole
from fqconsole.app.keymap import keymap, with_keys
from fqconsole.app.palette import ActionCommands
from fqconsole.app.widgets.key_footer import KeyFooter
from fqconsole.errors import UsageError
from fqconsole.settings import Settings
from tests.app.conftest import settled
from tests.app.fakes import fake_services


async def test_another_key_starts_the_action_and_stands_in_footer_help_and_palette():
    chosen = {"models.open": "o,enter", "everywhere.gpus": "g"}
    app = FqConsole(fake_services(), Settings(keys={"models.open": "o", "everywhere.runs": "f11"}))
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        assert app.screen.query_one(KeyFooter).text.count("  o ") == 1
        commands = [hit async for hit in ActionCommands(app.screen).discover()]
        assert any(str(hit.help).endswith("runs · F11") for hit in commands)
        await pilot.press("f11")
        await settled(pilot)
        assert app.current_mode == "runs"
        await pilot.press("5", "1", "enter")
        await settled(pilot)
        assert app.current_mode == "models"
        await pilot.press("o")
        await settled(pilot)
        assert app.current_mode == "fit"
    assert keymap(chosen) == {"models.open": "o,enter", "everywhere.gpus": "g"}


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"runs.marks": "x"}, "has no action runs.marks. Did you mean runs.mark?"),
        ({"runs.mark": "space bar"}, "'space bar' is no key"),
        ({"runs.mark": "n"}, "n would start both runs.mark and runs.note"),
        ({"runs.mark": "q"}, "q would start both everywhere.quit and runs.mark"),
        ({"everywhere.log": "f7"}, "f7 would start both everywhere.log and everywhere.screenshot"),
    ],
)
def test_a_wrong_key_is_a_sentence(chosen, words):
    with pytest.raises(UsageError) as told:
        keymap(chosen)
    assert words in str(told.value)


def test_a_key_may_be_given_to_another_action_when_its_owner_gets_one_too():
    assert keymap({"runs.mark": "n", "runs.note": "ctrl+e"})


def test_an_empty_text_takes_the_keys_away():
    assert (
        with_keys(ACTIONS, {"everywhere.quit": ""})[[a.id for a in ACTIONS].index("everywhere.quit")].keys
        == ()
    )


def test_the_keys_as_they_are_do_not_clash():
    assert keymap({}) == {}
    assert keymap({item.id: ",".join(item.keys) for item in ACTIONS if item.where == "models"})
