"""Jobs on a real GPU: its memory is back in time however a session ends."""

import asyncio
import os
import signal

import pytest

from fqconsole.demo import materialize
from fqconsole.generation.options import Sampling
from fqconsole.gpus import open_gpus
from fqconsole.jobs import Job
from fqconsole.jobs.messages import (
    GenerationDone,
    GenerationStarted,
    MemoryMeasured,
    ProbeDone,
    Send,
    SessionReady,
    StartProbe,
    StartSession,
    WorkerStarted,
)
from fqconsole.jobs.spare import SpareWorker
from tests.jobs.conftest import collect, first

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not open_gpus().available, reason="there is no GPU here"),
    pytest.mark.skipif(
        "PYTEST_XDIST_WORKER" in os.environ,
        reason="measures the whole GPU, which other tests use at the same time: run it without -n",
    ),
]

BACK_SECONDS = 3.0


def used():
    return open_gpus().sample()[0].memory_used


async def memory_is_back(before, worker_bytes):
    """Within three seconds at least nine tenths of what the worker took is free again."""
    async with asyncio.timeout(BACK_SECONDS):
        while used() - before > worker_bytes / 10:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("way", ["cancel", "cancel while it answers", "kill"])
async def test_the_memory_is_back_within_three_seconds(way):
    before = used()
    async with await Job.start(StartSession(model_path=str(materialize("demo")), device="cuda")) as job:
        assert (await first(job, WorkerStarted)).device == "cuda:0"
        await first(job, SessionReady)
        taken = used() - before
        assert taken > 2**20
        if way == "cancel while it answers":
            endless = Send(run_id="r1", sampling=Sampling(max_new_tokens=100_000), prompt="Once")
            await job.send(endless)
            await first(job, GenerationStarted)
        began = asyncio.get_running_loop().time()
        if way == "kill":
            os.kill(job.pid, signal.SIGKILL)
            await job.wait()
        else:
            await job.cancel()
        await memory_is_back(before, taken)
        assert asyncio.get_running_loop().time() - began < BACK_SECONDS


async def test_a_generation_measures_the_memory_of_its_gpu():
    async with await Job.start(StartSession(model_path=str(materialize("demo")), device="cuda")) as job:
        await first(job, SessionReady)
        await job.send(Send(run_id="r1", sampling=Sampling(temperature=0, max_new_tokens=8), prompt="Once"))
        done = await first(job, GenerationDone)
        await job.cancel()
        measured = {event.term: event for event in await collect(job) if isinstance(event, MemoryMeasured)}
    assert {event.gpu for event in measured.values()} == {0}
    beside = measured["runtime"].bytes if "runtime" in measured else 0  # where NVML tells what we hold
    assert measured["total"].bytes - beside == done.peak_bytes >= measured["weights"].bytes > 2**20
    assert measured["weights"].bytes == measured["weights"].predicted
    assert measured["kv"].bytes == measured["kv"].predicted


async def test_a_gpu_is_probed():
    async with await Job.start(StartProbe(device="cuda")) as job:
        (probe,) = [event.probe for event in await collect(job) if isinstance(event, ProbeDone)]
        assert await job.wait() == 0
    assert probe.driver
    assert 100 << 20 < probe.context_bytes < 4 << 30
    assert 0 <= probe.kernels_bytes < 2 << 30
    assert 0 <= probe.workspace_bytes < 1 << 30
    assert 0 <= probe.rounding < 0.5
    assert 10**11 < probe.bandwidth < 2 * 10**13
    assert probe.seconds < 60


async def test_a_spare_worker_takes_no_memory_of_a_gpu():
    before = used()
    spare = await SpareWorker.start()
    try:
        assert await spare.wait_ready()
        assert used() - before < 2**20
    finally:
        await spare.close()
