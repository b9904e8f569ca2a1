"""Pictures of the Runs screen in its states.

Make them again with `pytest tests/app --snapshot-update`, and look at them before committing.
"""

import time

import pytest

from fqconsole.app.console import FqConsole
from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.jobs import runs
from store import Store, StoreError
from tests.app.conftest import settled
from tests.app.fakes import fake_services
from tests.app.run_seeds import seed, seed_many_sizes

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)
SIZES = pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])


@pytest.fixture
def picture(snapshot, tmp_path):
    """Take a picture of Runs after some steps: a key, or "r0002" to put the cursor there."""

    def open_store():
        return Store.open(tmp_path / "runs.db")

    def take(*steps, size=SMALL, seeded=True, sizes=False):
        with open_store() as store:
            if sizes:
                seed_many_sizes(store)
            elif seeded:
                seed(store, tmp_path.relative_to(tmp_path))
        app = FqConsole(fake_services(open_store=open_store, begin=runs))

        async def run(pilot):
            await settled(pilot)
            for step in ("5", *steps):
                if step.startswith("r0"):
                    app.screen.query_one(RecordTable).move_to_key(step)
                else:
                    await pilot.press(step)
                await settled(pilot)

        return snapshot(app, terminal_size=size, run_before=run)

    return take


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_empty(picture):
    assert picture(seeded=False)


@SIZES
def test_the_list(picture, size):
    assert picture("r0002", size=size)


def test_a_failed_run(picture):
    assert picture("r0005")


@SIZES
def test_two_runs_compared(picture, size):
    assert picture("r0003", "b", "space", "r0002", "space", size=size)


def test_filtered(picture):
    assert picture("slash", *"kind:generate", "enter")


def test_a_filter_that_can_not_be_read(picture):
    assert picture("slash", *"bits<=four")


@SIZES
def test_outputs_side_by_side(picture, size):
    assert picture("r0002", "space", "r0003", "space", "o", size=size)


def test_delete_asks(picture):
    assert picture("r0007", "x")


def test_a_note(picture):
    assert picture("r0002", "n")


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
def test_the_filter_offers_what_may_follow(picture, size):
    assert picture("slash", *"model:", size=size)


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
def test_runs_plotted(picture, size):
    assert picture("r0008", "p", size=size, sizes=True)


def test_speed_against_quality(picture):
    assert picture("r0008", "p", "x", "y", sizes=True)


def test_a_plot_of_runs_that_nothing_was_measured_of(picture):
    assert picture("r0006", "p")


def test_a_record_out_of_reach(snapshot):
    def broken():
        what = "The runs file /data/runs.db is damaged or is no database."
        raise StoreError(what, "Move it away; `sqlite3 runs.db .recover` may save what is in it.")

    app = FqConsole(fake_services(open_store=broken, begin=runs))

    async def run(pilot):
        await pilot.press("5")
        await app.workers.wait_for_complete()
        app.clear_notifications()
        await pilot.pause()

    assert snapshot(app, terminal_size=SMALL, run_before=run)
