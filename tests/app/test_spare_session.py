"""The console's spare worker: asked for after the first paint, taken by a session, made while it is idle."""

import asyncio

import pytest

from fqconsole.app import opening, spare_session
from fqconsole.app.console import FqConsole
from fqconsole.app.services import NoSpare
from fqconsole.app.spare_session import LEAST_FREE, SpareSession
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import StartQuantize, StartSession
from fqconsole.settings import Session, Settings
from tests.app.conftest import settled
from tests.app.fake_plan import quantize_events
from tests.app.fakes import DEMO, FakeJob, JobScripts, fake_services

SESSION = StartSession(model_path="/m")
QUANTIZE = StartQuantize(run_id="r0001", model_id="demo", model_path="/m", out="/o", bits=4)


class FakeSpare:
    """Notes whether it was taken or closed; `dead` is of no use."""

    def __init__(self):
        self.taken = self.closed = self.dead = False

    async def close(self):
        self.closed = True


class FakeWorker:
    """A job that runs until it is told to end."""

    def __init__(self):
        self.over = asyncio.Event()

    async def wait(self):
        await self.over.wait()
        return 0


class Place:
    """A SpareSession without a moment's wait, and what it made and started."""

    def __init__(self, available=LEAST_FREE, scripts=None, beside=None):
        self.scripts = scripts
        self.made, self.started = [], []
        self.available = available
        self.broken = False
        self.spare = SpareSession(
            start=self.start, make=self.make, available=lambda: self.available, moment=0.0, beside=beside
        )

    async def make(self):
        self.made.append(FakeSpare())
        return self.made[-1]

    async def start(self, request, spare):
        if self.broken:
            raise OperatorError("The worker process could not be started.", "Free some memory.")
        if spare is not None and not spare.dead:
            spare.taken = True
        self.started.append((request, spare))
        return FakeWorker() if self.scripts is None else await self.scripts(request)

    async def idle(self):
        for _ in range(5):
            await asyncio.sleep(0.001)
        return len(self.made)


async def test_a_session_takes_it_and_the_next_is_made_when_the_session_has_ended():
    place = Place()
    place.spare.keep()
    assert place.made == []  # not at once
    assert await place.idle() == 1
    job = await place.spare.start_job(SESSION)
    assert place.started == [(SESSION, place.made[0])]
    place.spare.keep()
    assert await place.idle() == 1  # not while a model loads or answers
    job.over.set()
    assert await place.idle() == 2


async def test_with_many_cores_the_next_is_made_beside_a_session_that_has_run_for_a_while():
    place = Place(beside=0.02)
    await place.spare.start_job(SESSION)
    assert await place.idle() == 0  # it may still be loading
    await asyncio.sleep(0.03)
    assert await place.idle() == 1
    await place.spare.start_job(SESSION)
    assert place.started[-1] == (SESSION, place.made[0])
    job = await place.spare.start_job(QUANTIZE)
    await asyncio.sleep(0.03)
    assert await place.idle() == 1  # a job that needs the cores runs
    job.over.set()
    assert await place.idle() == 2


async def test_other_jobs_leave_it_and_none_is_made_beside_them():
    place = Place()
    job = await place.spare.start_job(QUANTIZE)
    place.spare.keep()
    assert await place.idle() == 0
    job.over.set()
    assert await place.idle() == 1
    await place.spare.start_job(QUANTIZE)
    assert [spare for _, spare in place.started] == [None, None]
    await place.spare.start_job(SESSION)
    assert place.started[-1] == (SESSION, place.made[0])


async def test_none_is_made_where_memory_is_scarce():
    place = Place(available=LEAST_FREE - 1)
    place.spare.keep()
    assert await place.idle() == 0
    job = await place.spare.start_job(SESSION)
    assert place.started == [(SESSION, None)]
    place.available = LEAST_FREE
    job.over.set()
    assert await place.idle() == 1


async def test_one_of_no_use_is_ended():
    place = Place()
    place.spare.keep()
    await place.idle()
    place.made[0].dead = True
    await place.spare.start_job(SESSION)
    assert (place.made[0].taken, place.made[0].closed) == (False, True)


async def test_a_session_that_can_not_start_says_so_and_leaves_no_spare_behind():
    place = Place()
    place.spare.keep()
    await place.idle()
    place.broken = True
    with pytest.raises(OperatorError, match="could not be started"):
        await place.spare.start_job(SESSION)
    assert place.made[0].closed


async def test_one_that_can_not_be_made_is_no_matter():
    place = Place()

    async def fail():
        raise OperatorError("The worker process could not be started.", "Free some memory.")

    place.spare._make = fail
    place.spare.keep()
    await place.idle()
    await place.spare.start_job(SESSION)
    assert place.started == [(SESSION, None)]


async def test_closed_it_ends_the_spare_and_makes_no_other():
    place = Place()
    place.spare.keep()
    await place.idle()
    await place.spare.close()
    assert place.made[0].closed
    place.spare.keep()
    assert await place.idle() == 1


async def test_the_console_asks_for_one_after_its_first_paint_and_ends_it_when_it_quits():
    place = Place()
    app = FqConsole(fake_services(spare=place.spare, start_job=place.spare.start_job))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert await place.idle() == 1
    assert place.made[0].closed


async def test_the_session_screen_has_it_for_its_worker():
    place = Place(scripts=JobScripts(quantize=FakeJob(quantize_events(DEMO))))
    app = FqConsole(fake_services(spare=place.spare, start_job=place.spare.start_job))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        for _ in range(5):  # Models, Fit, Quantize twice, Session
            await pilot.press("enter")
            await settled(pilot)
        given = [(type(request), spare) for request, spare in place.started]
        assert given[:2] == [(StartQuantize, None), (StartSession, place.made[0])]


@pytest.mark.parametrize(("asked", "kind"), [(True, SpareSession), (False, NoSpare)])
def test_the_setting_switches_it_off(monkeypatch, asked, kind):
    monkeypatch.delenv("FQCONSOLE_SERVED", raising=False)
    assert isinstance(opening.services_here(Settings(session=Session(spare=asked))).spare, kind)


def test_a_window_of_a_browser_has_none(monkeypatch, home):
    monkeypatch.setenv("FQCONSOLE_SERVED", "1")
    assert isinstance(opening.services_here(Settings()).spare, NoSpare)


def test_the_rooms_tell_how_much_memory_is_available():
    assert spare_session.rooms.available_memory() > 2**20
