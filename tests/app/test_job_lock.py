"""One window of a served console at a time runs jobs."""

import pytest

from fqconsole.app.job_lock import JobLock
from fqconsole.errors import OperatorError
from tests.app.fakes import FakeJob


async def ran(job):
    return [event async for event in job.events()]


async def test_jobs_of_one_console_share_the_lock_and_another_is_told_to_wait(tmp_path):
    async def start(_request):
        return FakeJob(())

    first, second = JobLock(tmp_path / "jobs.lock"), JobLock(tmp_path / "jobs.lock")
    one = await first.locked(start)("a")
    two = await first.locked(start)("b")
    await ran(one)
    with pytest.raises(OperatorError, match="Another window runs a job"):
        await second.locked(start)("c")
    await ran(two)
    await ran(await second.locked(start)("c"))
    await ran(await first.locked(start)("d"))


async def test_a_job_that_can_not_start_gives_the_lock_back(tmp_path):
    async def broken(_request):
        raise OperatorError("No.")

    async def start(_request):
        return FakeJob(())

    with pytest.raises(OperatorError, match=r"No\."):
        await JobLock(tmp_path / "lock").locked(broken)("a")
    assert await JobLock(tmp_path / "lock").locked(start)("a")
