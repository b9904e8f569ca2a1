"""One worker process as its client holds it: how it is made, written to, and followed to its certain end."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import fqconsole
from fqconsole import paths
from fqconsole.errors import OperatorError
from fqconsole.jobs.event_pipe import EventPipe
from fqconsole.jobs.messages import Request, StartEndpoint, StartSession, encode
from fqconsole.jobs.worker_log import new_worker_log

WORKER = (sys.executable, "-P", "-m", "fqconsole.jobs.worker")
EXIT_GRACE = 5.0  # seconds a worker whose events ended may take to leave, and the pipe to end after it left


class WorkerProcess:
    """Made by `start_worker`. `on_line` gets each line of the event pipe; `ready` is set by an empty one.

    Belongs to the event loop that started it.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, log_path: Path, environment: dict[str, str]
    ) -> None:
        self.log_path = log_path
        self.environment = environment
        self.on_line: Callable[[bytes], None] = lambda line: None
        self.ready = asyncio.Event()
        self.pipe = EventPipe(self._take_line)
        self._process = process
        self._transport: asyncio.ReadTransport | None = None

    async def attach(self, read_end: int) -> None:
        """Read the event pipe from now on."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(lambda: self.pipe, os.fdopen(read_end, "rb", 0))

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once the worker is known to have left, or to say nothing more."""
        return self._process.returncode is None and not self.pipe.ended.is_set()

    async def write(self, request: Request) -> None:
        """Give the worker a request."""
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing():
            return
        # A dead worker is told by its last event, so a broken pipe needs no word here.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(encode(request))
            await stdin.drain()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker and all that it started."""
        # The worker leads a session and so a process group of its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def ended(self) -> int:
        """Wait for both the process and its pipe to end; whichever lags gets EXIT_GRACE. The return code."""
        gone = asyncio.create_task(self._process.wait())
        ended = asyncio.create_task(self.pipe.ended.wait())
        await asyncio.wait({gone, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not gone.done():
            await asyncio.wait({gone}, timeout=EXIT_GRACE)
        # What the worker itself started (a compiler, say) is in its process group and must not stay behind.
        self.signal(signal.SIGKILL)
        await gone
        await asyncio.wait({ended}, timeout=EXIT_GRACE)
        if not ended.done():
            if self._transport is not None:
                self._transport.close()
            await ended
        return gone.result()

    def _take_line(self, line: bytes) -> None:
        if line:
            self.on_line(line)
        else:
            self.ready.set()


async def start_worker(
    kind: type,
    label: str,
    *,
    log_dir: Path | None = None,
    command: Sequence[str] = WORKER,
    more: Sequence[str] = (),
    on_line: Callable[[bytes], None] = lambda line: None,
) -> WorkerProcess:
    """A worker for a request of this `kind`, which waits for it; `more` are further arguments of it.

    Its own output goes to a new file in `log_dir` (default: the console's log folder) with `label` in its
    name. Raises OperatorError when the process can't be started.
    """
    environment = environment_for(kind)
    read_end, write_end = os.pipe()
    try:
        log_path = new_worker_log(log_dir or paths.log_dir(), label)
        with log_path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, "--events", str(write_end), "--parent", str(os.getpid()), *more,
                stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
                pass_fds=(write_end,), start_new_session=True, env=environment,
            )  # fmt: skip
    except OSError as error:
        os.close(read_end)
        raise OperatorError(
            f"The worker process could not be started: {error}.",
            "Check the free disk space, the process limit (ulimit -u) and the log folder.",
        ) from error
    finally:
        os.close(write_end)
    worker = WorkerProcess(process, log_path, environment)
    worker.on_line = on_line
    await worker.attach(read_end)
    return worker


def environment_for(kind: type) -> dict[str, str]:
    """The console's environment as a worker for this kind of request gets it.

    A checkout that is not installed stays importable under `-P`.
    """
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
    if not issubclass(kind, StartSession | StartEndpoint):
        environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 20))
    environment["PYTHONUNBUFFERED"] = "1"
    return environment
