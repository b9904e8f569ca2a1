"""Fixtures of the console's tests: an app on stand-in services, and a way to wait without sleeping."""

import time
from contextlib import suppress

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea
from textual.worker import WorkerCancelled

from fqconsole.app.console import FqConsole

CALM = 3  # rounds without work: a mount asks for a layout, which resizes, which paints


async def settled(pilot: Pilot) -> None:
    """Wait until nothing is under way: workers, the store's thread, job events, the paint."""
    app = pilot.app
    assert isinstance(app, FqConsole)
    quiet = 0
    while quiet < CALM:
        busy = list(app.workers)
        with suppress(WorkerCancelled):  # an exclusive worker makes way for the next of its kind
            await app.workers.wait_for_complete(busy)
        await app.store.call(lambda _store: None)
        await app.jobs.flush_all()
        await pilot.pause(0)
        calm = not busy and not any(job.pending for job in app.jobs.handles)
        quiet = quiet + 1 if calm else 0
    await pilot.pause()


@pytest.fixture(autouse=True)
def still_cursors(monkeypatch):
    """A blinking cursor makes two pictures of the same screen differ."""
    monkeypatch.setattr(Input, "_toggle_cursor", lambda _self: None)
    monkeypatch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda _self: None, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture(autouse=True)
def short_naps(monkeypatch):
    """Pilot naps 20 ms after every key to see whether the process is idle; `settled` knows better."""
    monkeypatch.setattr("textual._wait.SLEEP_GRANULARITY", 0.004)
    monkeypatch.setattr("textual._wait.SLEEP_IDLE", 0.002)
