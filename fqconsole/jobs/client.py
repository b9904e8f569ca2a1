"""The console's half of a job: start the worker, hand out its events, send requests, end it for certain."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fqconsole.errors import MALFORMED, OperatorError
from fqconsole.jobs.endings import Endings
from fqconsole.jobs.messages import AnyEvent, Cancel, LogLine, Request, Send, decode_event
from fqconsole.jobs.orders import AnyStart
from fqconsole.jobs.spare import SpareWorker
from fqconsole.jobs.worker_process import WORKER, WorkerProcess, start_worker

StartRequest = AnyStart

CANCEL_GRACE = 1.4  # seconds from the cancel request to SIGTERM
TERM_GRACE = 0.7  # seconds from SIGTERM to SIGKILL; together the device memory is back within 3 s


class Job:
    """One worker process and its events, kept until they are read, however slow the reader is.

    Belongs to the event loop that started it. Start it from a thread that lives as long as the worker shall:
    Linux sends the parent-death signal when the starting *thread* ends.
    """

    _worker: WorkerProcess

    def __init__(self, request: StartRequest) -> None:
        self.request = request
        self._queue: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        self._endings = Endings(request)
        self._instead: Callable[[], Awaitable[WorkerProcess]] | None = None  # for a spare that says nothing
        self._unheard: list[Request] = []  # what such a spare was asked
        self._cancelling = False
        self._exit_code: int | None = None
        self._following: asyncio.Task[int] | None = None

    @classmethod
    async def start(
        cls,
        request: StartRequest,
        *,
        log_dir: Path | None = None,
        command: Sequence[str] = WORKER,
        spare: SpareWorker | None = None,
    ) -> "Job":
        """Start a worker and give it `request`, or give it to `spare`, where that is of use for it.

        The worker's own output goes to a new file in `log_dir` (default: the console's log folder).
        `command` is what is run. Raises OperatorError when the process can't be started.
        """
        job = cls(request)
        label = getattr(request, "run_id", "") or type(request).__name__.removeprefix("Start").lower()

        def start_now() -> Awaitable[WorkerProcess]:
            return start_worker(
                type(request), label, log_dir=log_dir, command=command, on_line=job._take_line
            )

        worker = None if spare is None else spare.take(request)
        if worker is None:
            job._worker = await start_now()
        else:
            worker.on_line = job._take_line
            job._worker, job._instead = worker, start_now
        job._following = asyncio.create_task(job._follow())
        await job._write(request)
        return job

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._worker.pid

    @property
    def log_path(self) -> Path:
        """Where the worker's own output goes."""
        return self._worker.log_path

    @property
    def running(self) -> bool:
        """False once the worker has left and its last event is queued."""
        return self._exit_code is None

    async def events(self) -> AsyncIterator[AnyEvent]:
        """Each event once, in order; ends when the worker ended. A loop left early may be taken up again."""
        while True:
            event = await self._queue.get()
            if event is None:
                self._queue.put_nowait(None)
                return
            yield event

    async def send(self, request: Request) -> None:
        """Give the worker one more request. Raises OperatorError for a `Send` to a session that has ended."""
        if isinstance(request, Send):
            if not self.running:
                raise OperatorError("The session has ended.", "Load the model again, then send the prompt.")
            self._endings.opened(request)
        if isinstance(request, Cancel):
            self._cancelling = True
        await self._write(request)

    async def cancel(self, *, grace: float = CANCEL_GRACE, term_grace: float = TERM_GRACE) -> None:
        """End the worker: by request, then by SIGTERM, then by SIGKILL. Returns when it is gone."""
        if not self.running:
            return
        await self.send(Cancel())
        if await self._gone_within(grace):
            return
        self._worker.signal(signal.SIGTERM)
        if await self._gone_within(term_grace):
            return
        self._queue.put_nowait(
            LogLine(
                t=time.time(),
                level="warning",
                text=f"The worker did not stop within {grace + term_grace:.1f} s and was killed.",
            )
        )
        self._worker.signal(signal.SIGKILL)
        await self.wait()

    async def wait(self) -> int:
        """The job's exit code: 0 ended in order, the failure's own code, 130 cancelled, 143 by SIGTERM."""
        if self._following is None:
            raise RuntimeError("a job is made by Job.start")
        return await asyncio.shield(self._following)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cancel()

    async def _write(self, request: Request) -> None:
        if self._instead is not None:
            self._unheard.append(request)
        await self._worker.write(request)

    def _take_line(self, line: bytes) -> None:
        self._instead = None
        try:
            event = decode_event(line)
        except MALFORMED as error:
            text = f"The worker sent an event that this console can't read ({error}): {line[:200]!r}"
            self._queue.put_nowait(LogLine(t=time.time(), level="warning", text=text))
            return
        self._endings.note(event)
        self._queue.put_nowait(event)

    async def _follow(self) -> int:
        returncode = await self._worker.ended()
        if self._instead is not None and not self._cancelling and await self._begin_again(self._instead):
            returncode = await self._worker.ended()
        return self._conclude(returncode)

    async def _begin_again(self, start: Callable[[], Awaitable[WorkerProcess]]) -> bool:
        """A spare that died without a word, while it waited most likely, costs no session."""
        try:
            worker = await start()
        except OperatorError:
            return False
        for request in self._unheard:  # grows while it is sent, if more is asked
            await worker.write(request)
        self._instead, self._worker = None, worker
        return True

    def _conclude(self, returncode: int) -> int:
        """Close every run that the worker left open, end the stream and tell the exit code."""
        missing = self._endings.missing(returncode, cancelling=self._cancelling, log_path=self.log_path)
        for event in missing:
            self._endings.note(event)
            self._queue.put_nowait(event)
        self._exit_code = self._endings.exit_code(returncode, cancelling=self._cancelling)
        self._queue.put_nowait(None)
        return self._exit_code

    async def _gone_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.wait(), seconds)
        except TimeoutError:
            return False
        return True
