"""The console's half of a job: start the worker, hand out its events, send requests, end it for certain."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import fqconsole
from fqconsole import paths
from fqconsole.errors import MALFORMED, OperatorError
from fqconsole.jobs.endings import Endings
from fqconsole.jobs.event_pipe import EventPipe
from fqconsole.jobs.messages import (
    AnyEvent,
    Cancel,
    LogLine,
    Request,
    Send,
    StartEndpoint,
    StartSession,
    decode_event,
    encode,
)
from fqconsole.jobs.orders import AnyStart
from fqconsole.jobs.worker_log import new_worker_log

StartRequest = AnyStart

WORKER = (sys.executable, "-P", "-m", "fqconsole.jobs.worker")
CANCEL_GRACE = 1.4  # seconds from the cancel request to SIGTERM
TERM_GRACE = 0.7  # seconds from SIGTERM to SIGKILL; together the device memory is back within 3 s
EXIT_GRACE = 5.0  # seconds a worker whose events ended may take to leave, and the pipe to end after it left


class Job:
    """One worker process and its events, kept until they are read, however slow the reader is.

    Belongs to the event loop that started it. Start it from a thread that lives as long as the worker shall:
    Linux sends the parent-death signal when the starting *thread* ends.
    """

    def __init__(self, process: asyncio.subprocess.Process, request: StartRequest, log_path: Path) -> None:
        self.request = request
        self.log_path = log_path
        self._process = process
        self._queue: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        self._pipe = EventPipe(self._take_line)
        self._endings = Endings(request)
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
    ) -> "Job":
        """Start a worker and give it `request`.

        The worker's own output goes to a new file in `log_dir` (default: the console's log folder).
        `command` is what is run. Raises OperatorError when the process can't be started.
        """
        label = getattr(request, "run_id", "") or type(request).__name__.removeprefix("Start").lower()
        read_end, write_end = os.pipe()
        try:
            log_path = new_worker_log(log_dir or paths.log_dir(), label)
            with log_path.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *command, "--events", str(write_end), "--parent", str(os.getpid()),
                    stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
                    pass_fds=(write_end,), start_new_session=True, env=_environment(request),
                )  # fmt: skip
        except OSError as error:
            os.close(read_end)
            raise OperatorError(
                f"The worker process could not be started: {error}.",
                "Check the free disk space, the process limit (ulimit -u) and the log folder.",
            ) from error
        finally:
            os.close(write_end)
        job = cls(process, request, log_path)
        await job._attach(read_end)
        await job._write(request)
        return job

    async def _attach(self, read_end: int) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: self._pipe, os.fdopen(read_end, "rb", 0))
        self._following = asyncio.create_task(self._follow(transport))

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

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
        self._signal(signal.SIGTERM)
        if await self._gone_within(term_grace):
            return
        self._queue.put_nowait(
            LogLine(
                t=time.time(),
                level="warning",
                text=f"The worker did not stop within {grace + term_grace:.1f} s and was killed.",
            )
        )
        self._signal(signal.SIGKILL)
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
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing():
            return
        # A dead worker is told by its last event, so a broken pipe needs no word here.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(encode(request))
            await stdin.drain()

    def _take_line(self, line: bytes) -> None:
        try:
            event = decode_event(line)
        except MALFORMED as error:
            text = f"The worker sent an event that this console can't read ({error}): {line[:200]!r}"
            self._queue.put_nowait(LogLine(t=time.time(), level="warning", text=text))
            return
        self._endings.note(event)
        self._queue.put_nowait(event)

    async def _follow(self, transport: asyncio.ReadTransport) -> int:
        """Wait for both the process and its pipe to end; whichever lags gets EXIT_GRACE."""
        gone = asyncio.create_task(self._process.wait())
        ended = asyncio.create_task(self._pipe.ended.wait())
        await asyncio.wait({gone, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not gone.done():
            await asyncio.wait({gone}, timeout=EXIT_GRACE)
        # What the worker itself started (a compiler, say) is in its process group and must not stay behind.
        self._signal(signal.SIGKILL)
        await gone
        await asyncio.wait({ended}, timeout=EXIT_GRACE)
        if not ended.done():
            transport.close()
            await ended
        return self._conclude(gone.result())

    def _conclude(self, returncode: int) -> int:
        """Close every run that the worker left open, end the stream and tell the exit code."""
        missing = self._endings.missing(returncode, cancelling=self._cancelling, log_path=self.log_path)
        for event in missing:
            self._endings.note(event)
            self._queue.put_nowait(event)
        self._exit_code = self._endings.exit_code(returncode, cancelling=self._cancelling)
        self._queue.put_nowait(None)
        return self._exit_code

    def _signal(self, number: signal.Signals) -> None:
        # The worker leads a session and so a process group of its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _gone_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _environment(request: StartRequest) -> dict[str, str]:
    """The console's environment; a checkout that is not installed stays importable under `-P`."""
    environment = dict(os.environ)
    root = Path(fqconsole.__file__).resolve().parents[1]
    if not {"site-packages", "dist-packages"} & set(root.parts):
        inherited = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{inherited}" if inherited else str(root)
    # A progress bar in a log file is noise, and the worker tells its progress as events.
    environment.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait take the cores from those with work.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What loading frees goes back to the system at once, so that a packed model takes what the preview says.
    environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(16 << 20))
    # That setting has the C library ask the system for every block of rows anew, page by page: it took half
    # the time of quantizing. A session is left so: this limit keeps some of what loading frees.
    if not isinstance(request, StartSession | StartEndpoint):
        environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 20))
    environment["PYTHONUNBUFFERED"] = "1"
    return environment
