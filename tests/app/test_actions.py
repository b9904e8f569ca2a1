"""The registry of actions: ids, keys and words that the footer, palette, help and docs share."""

import pytest
from rich.cells import cell_len

from fqconsole.app.actions import ACTIONS
from fqconsole.app.console import FqConsole
from fqconsole.app.widgets.key_footer import MOST, KeyFooter
from tests.app.conftest import settled
from tests.app.fakes import fake_services

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
