"""The console's spare worker: made while nothing else goes on, taken by the next session, then made anew."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fqconsole.app import rooms
from fqconsole.app.services import RunningJob
from fqconsole.jobs.messages import Request, StartSession

MOMENT = 1.0  # seconds after the first paint, or after the last job: what was just begun goes first
END_WAIT = 1.0  # seconds: what was killed may take so long to go, and goes with the console at the latest
LEAST_FREE = 4 << 30  # bytes of memory: a spare holds half a GiB, and the rest is for models
BESIDE = (
    20.0  # seconds after a session was asked for: it is loaded by then, and the next model may be compared
)
MANY_CORES = 8  # of this machine: a spare is then made beside a session, which has enough of them left


class Waiting(Protocol):
    """A worker that waits, until it is `taken`; `fqconsole.jobs.spare.SpareWorker` is the real one."""

    taken: bool

    async def close(self) -> None: ...


class SpareSession:
    """Starts the console's jobs, and keeps one spare for a session while none of them runs.

    On a machine of many cores also beside a session, for the model that it is compared with. What goes wrong
    with a spare is no matter of the operator's: the session then starts without one, and the spare's log has
    the reason.
    """

    def __init__(
        self,
        *,
        start: Callable[[Any, Any], Awaitable[RunningJob]] = rooms.start_job,
        make: Callable[[], Awaitable[Waiting]] = rooms.start_spare,
        available: Callable[[], int] = rooms.available_memory,
        moment: float = MOMENT,
        beside: float | None = BESIDE if (os.cpu_count() or 1) >= MANY_CORES else None,
    ) -> None:
        """`start(request, spare)` starts a job, `make` a spare; `available` is bytes of memory.

        `beside`: seconds after a session's start to the next spare; None: when the session has ended.
        """
        self._start = start
        self._make = make
        self._available = available
        self._moment = moment
        self._beside = beside
        self._spare: Waiting | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._making: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Task[None]] = (
            set()
        )  # each waits for the end of one that leaves no spare beside it
        self._sessions: set[asyncio.Task[None]] = set()  # and of one that does
        self._starting = 0
        self._closed = False

    def keep(self) -> None:
        """Make a spare in a moment, unless there is one or something runs by then."""
        if not (self._closed or self._soon or self._spare or self._busy):
            self._soon = asyncio.get_running_loop().call_later(self._moment, self._begin)

    async def start_job(self, request: Request) -> RunningJob:
        """Start a worker for `request`; the spare is it, where it is of use. Raises as `Job.start` does."""
        self._starting += 1
        spare = None
        try:
            spare = await self._hand_out() if isinstance(request, StartSession) else None
            job = await self._start(request, spare)
            self._note(request, job)
        finally:
            self._starting -= 1
            if spare is not None and not spare.taken:
                await self._end(spare)
            self.keep()
        return job

    async def close(self) -> None:
        """End the spare, and make no other."""
        self._closed = True
        spare = await self._hand_out()
        if spare is not None:
            await self._end(spare)

    @property
    def _busy(self) -> bool:
        return bool(self._starting or self._jobs or (self._making and not self._making.done()))

    def _begin(self) -> None:
        self._soon = None
        if not self._busy:
            self._making = asyncio.create_task(self._make_one())

    async def _make_one(self) -> None:
        with contextlib.suppress(Exception):
            if self._available() >= LEAST_FREE:
                self._spare = await self._make()

    async def _hand_out(self) -> Waiting | None:
        """The spare, which is the caller's from now on; one that is just being started is waited for."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._making is not None:
            await asyncio.wait({self._making})
        spare, self._spare = self._spare, None
        return spare

    def _note(self, request: Request, job: RunningJob) -> None:
        follower = asyncio.create_task(self._follow(job))
        self._jobs.add(follower)
        if isinstance(request, StartSession) and self._beside is not None:
            asyncio.get_running_loop().call_later(self._beside, self._leave_beside, follower)

    def _leave_beside(self, follower: asyncio.Task[None]) -> None:
        """A session has run for a while: it need not end before the next spare is made."""
        if follower in self._jobs:
            self._jobs.discard(follower)
            self._sessions.add(follower)
            self.keep()

    async def _follow(self, job: RunningJob) -> None:
        with contextlib.suppress(Exception):
            await job.wait()
        own = {asyncio.current_task()}
        self._jobs -= own
        self._sessions -= own
        self.keep()

    @staticmethod
    async def _end(spare: Waiting) -> None:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(spare.close(), END_WAIT)
