"""The server while it runs: the worker is loaded first, then the port answers, until told to end."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from fqconsole import paths
from fqconsole.api.application import Answered, api_application
from fqconsole.api.ledger import Ledger
from fqconsole.api.warm_model import WarmModel
from fqconsole.errors import UsageError
from fqconsole.jobs.client import Job
from fqconsole.jobs.messages import AnyEvent, JobFailed, SessionReady, StartSession
from fqconsole.jobs.worker_process import WORKER

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 1  # for answers under way when the server is told to end


def _nothing(*_told: object) -> None:
    """Nobody wants to know."""


@dataclass
class ApiServer:
    """One model on one port of loopback. `token` None asks for none.

    `on_event` sees what the worker tells while it loads, `on_ready` is called when the port answers.
    """

    start: StartSession
    name: str
    listener: socket.socket
    ledger: Ledger
    token: str | None = None
    on_event: Callable[[AnyEvent], None] = _nothing
    on_ready: Callable[[], None] = _nothing
    on_answer: Callable[[Answered], None] = _nothing
    command: Sequence[str] = WORKER
    ended_by: signal.Signals | None = None
    failure: JobFailed | None = None
    log_path: Path | None = None
    _end: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """What clients call the base URL."""
        return f"http://{LOOPBACK}:{self.listener.getsockname()[1]}/v1"

    def close(self) -> None:
        """After `run`: what waits is written, the port is free."""
        self.listener.close()
        self.ledger.close()

    def end(self) -> None:
        """Have `run` return soon."""
        self._end.set()

    async def run(self, signals: Sequence[signal.Signals]) -> None:
        """Serve until one of `signals` comes or the worker ends; `ended_by` or `failure` tell which."""
        with _heard(signals, self._ended_by_signal):
            async with await Job.start(self.start, log_dir=paths.log_dir(), command=self.command) as job:
                self.log_path = job.log_path
                events = job.events()
                ready = await self._loaded(events)
                if ready is None:
                    return
                model = WarmModel(job, self.ledger)
                following = asyncio.create_task(model.follow())
                await self._serve(model, ready)
                await job.cancel()
                await following
                self.failure = None if self._end.is_set() else model.failure

    async def _loaded(self, events: AsyncIterator[AnyEvent]) -> SessionReady | None:
        """What the session says when it is ready; None where it never will be."""
        told = asyncio.create_task(self._end.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(events, None))
                await asyncio.wait({coming, told}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    return None
                event = coming.result()
                if event is None:
                    return None
                self.ledger.feed(event)
                self.on_event(event)
                if isinstance(event, JobFailed):
                    self.failure = event
                    return None
                if isinstance(event, SessionReady):
                    return event
        finally:
            told.cancel()

    async def _serve(self, model: WarmModel, ready: SessionReady) -> None:
        application = api_application(model, ready, self.name, token=self.token, on_answer=self.on_answer)
        config = uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[self.listener]))
        ends = [asyncio.create_task(model.gone.wait()), asyncio.create_task(self._end.wait())]
        try:
            while not server.started and not serving.done():
                await asyncio.sleep(0.01)
            self.on_ready()
            await asyncio.wait([serving, *ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            for task in ends:
                task.cancel()
            await serving

    def _ended_by_signal(self, number: signal.Signals) -> None:
        self.ended_by = self.ended_by or number
        self.end()


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the command has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _heard(signals: Sequence[signal.Signals], react: Callable[[signal.Signals], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, react, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def open_listener(port: int) -> socket.socket:
    """A socket bound to `port` of loopback (0: a free one). Raises UsageError where it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"Port {port} of {LOOPBACK} can't be taken: {error.strerror}.",
            "Give another one, or --port 0 for a free one.",
        ) from error
    return listener
