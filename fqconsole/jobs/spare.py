"""A worker that was started before anybody asked: it has loaded what a session needs, and waits."""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path

from fqconsole.jobs.messages import StartSession
from fqconsole.jobs.orders import AnyStart
from fqconsole.jobs.worker_process import WORKER, WorkerProcess, environment_for, start_worker

LABEL = "spare-session"


class SpareWorker:
    """Becomes the worker of one session, by `Job.start(request, spare=...)`, or is ended with `close`."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self.taken = False

    @classmethod
    async def start(cls, *, log_dir: Path | None = None, command: Sequence[str] = WORKER) -> "SpareWorker":
        """Start a worker for a session without its request, as `Job.start` would with it.

        Raises OperatorError when the process can't be started.
        """
        more = ("--ready", "session")
        return cls(await start_worker(StartSession, LABEL, log_dir=log_dir, command=command, more=more))

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._worker.pid

    async def wait_ready(self) -> bool:
        """Wait until it has loaded all; False when it ended before."""
        waits = {asyncio.create_task(event.wait()) for event in (self._worker.ready, self._worker.pipe.ended)}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._worker.ready.is_set() and self._worker.alive

    def take(self, request: AnyStart) -> WorkerProcess | None:
        """Its process for `request`, once; None where it is no use for this request or is gone.

        A spare that is still loading can be taken: it takes the request up after the module at hand.
        """
        usable = (
            isinstance(request, StartSession)
            and not self.taken
            and self._worker.alive
            and self._loop is asyncio.get_running_loop()
            and self._worker.environment == environment_for(type(request))
        )
        self.taken = self.taken or usable
        return self._worker if usable else None

    async def close(self) -> None:
        """End it at once, unless it was taken; a log without a word goes too."""
        if self.taken:
            return
        self.taken = True
        self._worker.signal(signal.SIGKILL)
        await self._worker.ended()
        with contextlib.suppress(OSError):
            if self._worker.log_path.stat().st_size == 0:
                self._worker.log_path.unlink()
