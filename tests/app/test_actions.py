"""The registry of actions: ids, keys and words that the footer, palette, help and docs share."""

from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.widgets import Static

from fqconsole.app.actions import ACTIONS, actions_of
from fqconsole.app.console import FqConsole
from fqconsole.app.palette import ActionCommands
from fqconsole.app.screens.loading import screen_class
from fqconsole.app.widgets.key_footer import MOST, KeyFooter
from tests.app.conftest import settled
from tests.app.fakes import fake_services

PAGE = (Path(__file__).parents[2] / "docs" / "console.md").read_text()
FORBIDDEN = {"ctrl+b", "ctrl+s", "ctrl+a", "ctrl+t", "ctrl+i", "ctrl+m", "ctrl+h"}


def test_ids_are_unique():
    ids = [item.id for item in ACTIONS]
    assert len(ids) == len(set(ids))


def test_no_key_that_multiplexers_or_terminals_take():
    assert not {key for item in ACTIONS for key in item.keys} & FORBIDDEN


def test_no_key_means_two_things_on_one_screen():
    by_place: dict[str, list[str]] = {}
    for item in ACTIONS:
        by_place.setdefault(item.where, []).extend(item.keys)
    for where, keys in by_place.items():
        assert len(keys) == len(set(keys)), where
        if where != "everywhere":
            digits = {key for key in keys if key.isdigit()}
            assert not digits, where


def test_words_for_the_footer_are_short_and_descriptions_are_sentences():
    for item in ACTIONS:
        assert cell_len(item.label) <= 14, item.id
        assert item.description[0].isupper() and not item.description.endswith("."), item.id


@pytest.mark.parametrize("mode", list(FqConsole.MODES))
async def test_footer_fits_eighty_cells(mode):
    app = FqConsole(fake_services())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.show(mode)
        await settled(pilot)
        footer = app.screen.query_one(KeyFooter)
        assert len(app.screen.footer_entries()) <= MOST
        assert 0 < cell_len(footer.text) <= 80


async def test_every_action_is_in_palette_help_and_docs():
    """But the palette itself, and quitting by a second key, need no line in the palette."""
    app = FqConsole(fake_services())
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        for mode in FqConsole.MODES:
            app.show(mode)
            await settled(pilot)
            offered = {str(hit.text) async for hit in ActionCommands(app.screen).discover()}
            await pilot.press("f1")
            await pilot.pause()
            explained = " ".join(" ".join(str(part.render()) for part in app.screen.query(Static)).split())
            for item in (*actions_of(mode), *actions_of("everywhere")):
                if item.id not in ("everywhere.palette", "everywhere.quit_now"):
                    assert item.palette and item.description in offered, item.id
                assert item.description in explained, item.id
                assert f"`{item.id}`" in PAGE, item.id
            await pilot.press("escape")
            await pilot.pause()


def test_every_action_that_the_console_promises_exists():
    """What a footer, a key or the palette starts is a method of the console or of its screen."""
    for item in ACTIONS:
        place, _, name = item.call.rpartition(".")
        owner = FqConsole if place == "app" else screen_class(item.where)
        assert hasattr(owner, f"action_{name.partition('(')[0]}"), item.id
