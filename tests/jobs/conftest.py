"""Start jobs whose worker is real and whose work is trivial."""

import os
import select
import sys
from pathlib import Path

import pytest

from fqconsole.jobs.client import Job
from fqconsole.jobs.messages import StartDownload, StartEvaluate, StartQuantize, StartSession

STAND_IN = (sys.executable, "-P", str(Path(__file__).parent / "stand_in_worker.py"))


def quantize_request(*, matrices=3, seconds=0.0, run_id="r0001"):
    return StartQuantize(
        run_id=run_id, model_id="demo", model_path="/m", out="/out", bits=matrices, threshold=seconds
    )


def fault_request(way):
    return StartEvaluate(run_id="r0001", checkpoint_path="/c", reference_path="/r", text_path=way)


def flood_request():
    return StartDownload(run_id="r0001", model_id="m/m")


def session_request():
    return StartSession(model_path="/m")


@pytest.fixture
async def start():
    """`await start(request)` is a running job of the stand-in worker; what still runs is ended afterwards."""
    jobs = []

    async def begin(request, **options):
        job = await Job.start(request, command=STAND_IN, **options)
        jobs.append(job)
        return job

    yield begin
    for job in jobs:
        await job.cancel(grace=0.0, term_grace=0.0)


def ends_within(pid, seconds):
    """Whether the process ends in time; its descriptor tells, whether or not somebody collects it."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended = select.poll()
    ended.register(process, select.POLLIN)
    found = ended.poll(seconds * 1000)
    os.close(process)
    return bool(found)


async def collect(job):
    """Every event to the end."""
    return [event async for event in job.events()]


async def first(job, kind, count=1):
    """The `count`-th event of this kind; the stream can be read on from there."""
    async for event in job.events():
        if isinstance(event, kind):
            count -= 1
            if not count:
                return event
    raise AssertionError(f"no {kind.__name__} came")
