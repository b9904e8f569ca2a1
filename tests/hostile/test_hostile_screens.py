"""Nasty text from everywhere — models, runs, notes, tags, failures, files — on every screen and dialog."""

import re

import msgspec
import pytest

from fqconsole.app.console import FqConsole
from fqconsole.app.modes import MODES
from fqconsole.errors import OperatorError
from fqconsole.jobs import runs
from fqconsole.jobs.recorder import Recorder
from fqconsole.models.description import ModelEntry
from store import Store
from tests.app import run_seeds
from tests.app.conftest import settled
from tests.app.fakes import DEMO, fake_services

# Repaints, a lone C1, a mark that turns text round, Textual's and Rich's markup, a link, a half character.
NASTY = "E\x1b[2J\x1b]0;t\x07\x9b31m\u202e\u2066[bold red]B[/] [@click=app.quit]C[/] [link=x]\ud800\r\0"
STORED = NASTY.replace("\ud800", "").replace("\0", "")  # what a database holds
RAW = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def drawn(app):
    """Every line of the screen, as it goes to the terminal; the styles are Textual's own."""
    strips = app.screen._compositor.render_strips()
    assert strips
    return ["".join(segment.text for segment in strip if not segment.control) for strip in strips]


def check(app, where):
    for line in drawn(app):
        assert RAW.search(line) is None, (where, ascii(line))
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            meta = segment.style.meta if segment.style is not None and segment.style._meta else {}
            assert "@click" not in meta or "quit" not in str(meta["@click"]), where
            assert segment.style is None or segment.style.link != "x", where


def fill(store, folder):
    for kind in ("quantize", "generate", "evaluate", "download"):
        run = run_seeds.begin(
            store, kind, STORED, ago=60.0, status="failed",
            error={"code": STORED, "what": STORED, "next_step": STORED}, path=str(folder), revision=STORED,
            options={"model_path": STORED, STORED: STORED}, host={"device_name": STORED},
        )  # fmt: skip
        store.set_note(run, STORED)
        store.set_tags(run, ["[b]", STORED])
    for text in (STORED, STORED * 2):
        run_seeds.answer(store, STORED, None, text, ago=30.0, tok_s=5.0, ttft=20.0)


@pytest.fixture
def nasty_console(tmp_path):
    def open_store():
        return Store.open(tmp_path / "runs.db")

    with open_store() as store:
        fill(store, tmp_path)
    bad = ModelEntry(NASTY, "folder", f"/m/{NASTY}", problem=NASTY)
    broken = ModelEntry(f"b/{NASTY}", "folder", f"/b/{NASTY}")
    odd = msgspec.structs.replace(DEMO, id=f"o/{NASTY}", path=f"/o/{NASTY}", license=NASTY)
    good = ModelEntry(odd.id, "folder", odd.path)

    def describe(item):
        if item.id == odd.id:
            return odd
        raise OperatorError(NASTY, NASTY)

    services = fake_services(
        entries=[good, bad, broken], describe=describe, summaries=lambda: {odd.id: NASTY},
        open_store=open_store, begin=runs, make_recorder=Recorder,
    )  # fmt: skip
    return FqConsole(services)


async def press_and_check(app, pilot, *keys):
    for key in keys:
        await pilot.press(key)
        await settled(pilot)
        check(app, (app.current_mode, key))


@pytest.mark.slow
async def test_every_screen_writes_nasty_text_out(nasty_console):
    app = nasty_console
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        for mode in MODES:
            await press_and_check(app, pilot, str(mode.digit), "question_mark", "escape")
        await press_and_check(app, pilot, "1", "down", "down", "enter", "escape")
        await press_and_check(app, pilot, "f8", "f8", "f9", "escape")


@pytest.mark.slow
async def test_every_dialog_over_the_runs_writes_nasty_text_out(nasty_console):
    app = nasty_console
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press_and_check(app, pilot, "5")
        shown = "\n".join(drawn(app))
        assert "\\x1b" in shown
        assert "[bold red]" in shown
        for key in ("n", "x", "i", "d", "e", "p"):
            await press_and_check(app, pilot, key, "escape")
        await press_and_check(app, pilot, "space", "down", "space", "o", "right", "escape")
        await press_and_check(app, pilot, "slash", *"[/b", "enter", "escape")


async def test_toasts_titles_and_the_presenter_write_nasty_text_out(nasty_console):
    app = nasty_console
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        app.notify(NASTY, title=NASTY, markup=False)
        await settled(pilot)
        check(app, "toast")
        await press_and_check(app, pilot, "f6", "escape", "f5")
