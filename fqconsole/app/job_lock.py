"""One console at a time runs jobs: two windows that each load a model would not fit on one GPU."""

import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from fqconsole.app.services import RunningJob
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import AnyEvent, Request


class JobLock:
    """A file that is locked while this console runs any job; the system unlocks it when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: int | None = None
        self._jobs = 0

    def locked(self, start: Callable[[Any], Awaitable[RunningJob]]) -> Callable[[Any], Awaitable[RunningJob]]:
        """`start` that takes the lock first. Raises OperatorError while another console has it."""

        async def starting(request: Request) -> RunningJob:
            self._take()
            try:
                return _Locked(await start(request), self)
            except BaseException:
                self.give_back()
                raise

        return starting

    def _take(self) -> None:
        if self._held is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise OperatorError(
                    "Another window runs a job or talks to a model, and only one at a time may.",
                    "Wait until it ends, or unload the model there.",
                ) from None
            self._held = descriptor
        self._jobs += 1

    def give_back(self) -> None:
        """One job has ended; with the last one the lock is free."""
        self._jobs -= 1
        if self._jobs == 0 and self._held is not None:
            os.close(self._held)
            self._held = None


class _Locked:
    """A job that gives its share of the lock back when its worker has ended."""

    def __init__(self, job: RunningJob, lock: JobLock) -> None:
        self._job, self._lock = job, lock

    async def events(self) -> AsyncIterator[AnyEvent]:
        try:
            async for event in self._job.events():
                yield event
        finally:
            self._lock.give_back()

    async def send(self, request: Request) -> None:
        await self._job.send(request)

    async def cancel(self) -> None:
        await self._job.cancel()

    async def wait(self) -> int:
        return await self._job.wait()
