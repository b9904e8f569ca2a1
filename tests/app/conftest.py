"""Fixtures of the console's tests: an app on stand-in services, and a way to wait without sleeping."""

import sys
import time

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from fqconsole.app.console import FqConsole

SNAPSHOT_PYTHON = (3, 11)


async def settled(pilot: Pilot) -> None:
    """Wait until nothing is under way: workers, the store's thread, job events, the paint."""
    app = pilot.app
    assert isinstance(app, FqConsole)
    await pilot.pause()
    while True:
        busy = list(app.workers)
        await app.workers.wait_for_complete(busy)
        await app.store.call(lambda _store: None)
        await app.jobs.flush_all()
        await pilot.pause()
        if not busy and not any(job.pending for job in app.jobs.handles):
            return


@pytest.fixture(autouse=True)
def still_cursors(monkeypatch):
    """A blinking cursor makes two pictures of the same screen differ."""
    monkeypatch.setattr(Input, "_toggle_cursor", lambda _self: None)
    monkeypatch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda _self: None, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def snapshot(snap_compare):
    """`snap_compare`, skipped with the reason where the pictures were not made."""
    if sys.version_info[:2] != SNAPSHOT_PYTHON:
        pytest.skip("the pictures are made on Python 3.11; another version may lay out a cell differently")
    return snap_compare
