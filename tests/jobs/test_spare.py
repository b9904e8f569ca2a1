"""A worker that waits for its request: taken by one session, ended for certain, not missed when gone."""

import asyncio
import os
import signal

import pytest

from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import GenerationDone, JobDone, JobFailed, LogLine, Send, SessionReady
from fqconsole.jobs.spare import LABEL, SpareWorker
from tests.jobs.conftest import STAND_IN, collect, ends_within, first, quantize_request, session_request

HI = Send(run_id="r0001", sampling=Sampling(temperature=0), prompt="hi there")


@pytest.fixture
async def make_spare(tmp_path):
    """`await make_spare()` is a spare of the stand-in worker that has loaded all.

    Made in the test, because pytest changes the environment between a fixture and its test.
    """
    made = []

    async def make():
        made.append(await SpareWorker.start(command=STAND_IN, log_dir=tmp_path))
        assert await made[-1].wait_ready()
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def talk(job):
    """One prompt, then the end: every event."""
    await first(job, SessionReady)
    await job.send(HI)
    answer = await first(job, GenerationDone)
    await first(job, JobDone)
    await job.cancel()
    assert answer.text == "HI THERE"


async def test_a_session_has_the_spare_for_its_worker(start, make_spare):
    spare = await make_spare()
    job = await start(session_request(), spare=spare)
    assert job.pid == spare.pid
    assert LABEL in job.log_path.name
    await talk(job)
    assert await job.wait() == 0
    # The sign that it was ready is no event, and no complaint about one.
    assert not [event for event in await collect(job) if isinstance(event, LogLine | JobFailed)]


async def test_a_spare_that_still_loads_obeys_at_once(start, monkeypatch):
    monkeypatch.setenv("STAND_IN_LOADING", "60")
    spare = await SpareWorker.start(command=STAND_IN)
    job = await start(session_request(), spare=spare)
    assert job.pid == spare.pid
    await talk(job)


async def test_only_a_session_takes_it_and_only_once(start, make_spare):
    spare = await make_spare()
    job = await start(quantize_request(), spare=spare)
    assert (job.pid != spare.pid, spare.taken) == (True, False)
    worker = spare.take(session_request())
    assert worker is not None
    assert spare.take(session_request()) is None
    worker.signal(signal.SIGKILL)
    await worker.ended()


async def test_it_is_not_taken_for_another_environment_or_from_another_loop(start, make_spare, monkeypatch):
    spare = await make_spare()

    async def elsewhere():
        return spare.take(session_request())

    assert await asyncio.to_thread(asyncio.run, elsewhere()) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    job = await start(session_request(), spare=spare)
    assert (job.pid != spare.pid, spare.taken) == (True, False)


async def test_a_spare_that_died_is_not_missed(start, make_spare):
    spare = await make_spare()
    os.kill(spare.pid, signal.SIGKILL)
    assert ends_within(spare.pid, 5)
    job = await start(session_request(), spare=spare)
    await talk(job)
    assert job.pid != spare.pid


async def test_a_spare_that_dies_with_its_request_is_not_missed_either(start, make_spare):
    spare = await make_spare()
    os.kill(spare.pid, signal.SIGSTOP)
    job = await start(session_request(), spare=spare)
    await job.send(HI)
    assert job.pid == spare.pid
    os.kill(spare.pid, signal.SIGKILL)
    answer = await first(job, GenerationDone)  # what was sent meanwhile is not lost
    assert answer.text == "HI THERE"
    assert job.pid != spare.pid
    assert LABEL not in job.log_path.name
    await job.cancel()
    assert await job.wait() == 0


async def test_a_session_that_dies_is_told_whoever_its_worker_was(start, make_spare):
    spare = await make_spare()
    job = await start(session_request(), spare=spare)
    await first(job, SessionReady)
    os.kill(job.pid, signal.SIGKILL)
    (failure,) = await collect(job)
    assert failure.code == "worker_died"


async def test_a_session_that_is_cancelled_does_not_begin_again(start, make_spare):
    spare = await make_spare()
    os.kill(spare.pid, signal.SIGSTOP)
    job = await start(session_request(), spare=spare)
    await job.cancel(grace=0.05, term_grace=0.05)
    assert job.pid == spare.pid
    assert not [event for event in await collect(job) if isinstance(event, JobFailed)]


async def test_closed_it_is_gone_with_its_empty_log(tmp_path):
    spare = await SpareWorker.start(command=STAND_IN, log_dir=tmp_path)
    assert [LABEL in path.name for path in tmp_path.iterdir()] == [True]
    await spare.close()
    assert ends_within(spare.pid, 0)
    assert list(tmp_path.iterdir()) == []
    assert not await spare.wait_ready()


async def test_one_that_was_taken_is_not_closed(start, make_spare):
    spare = await make_spare()
    job = await start(session_request(), spare=spare)
    await spare.close()
    await talk(job)
