"""Jobs belong to the console, not to a screen: started here, recorded, and told to every screen at 10 Hz."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from textual.message_pump import MessagePump

from fqconsole.app.job_log import JobLog
from fqconsole.app.messages import JobChanged, JobEvents
from fqconsole.app.services import EventRecorder, RunningJob, Services
from fqconsole.app.store_thread import StoreThread, sentence
from fqconsole.jobs.messages import (
    AnyEvent,
    CandidatesMeasured,
    ConfigDescribed,
    GenerationStarted,
    JobDone,
    JobFailed,
    LogLine,
    MatrixDone,
    Pause,
    Paused,
    PlanReady,
    Progress,
    Request,
    Resume,
    Resumed,
    TokensGenerated,
)

JobStatus = Literal["starting", "running", "paused", "done", "cancelled", "failed"]
PERIOD = 0.1  # seconds between two batches of events on the screen
MOST = 500  # events in a batch: a flood is taken in pieces, and keys come between
BULKY = PlanReady | MatrixDone | CandidatesMeasured | ConfigDescribed | LogLine
END_WAIT = 3.0  # seconds a job gets to end in order when the console quits


@dataclass(eq=False)
class JobHandle:
    """One worker process as screens see it. `history` holds all events but Progress and TokensGenerated."""

    number: int
    kind: str  # "quantize", "session", "evaluate", "download"
    title: str  # "demo → int4"
    request: Request
    started: float  # seconds since the epoch
    status: JobStatus = "starting"
    history: list[AnyEvent] = field(default_factory=list)
    progress: Progress | None = None
    writing: TokensGenerated | None = None  # how far the answer under way is
    failure: JobFailed | None = None
    ended: float | None = None
    unasked: bool = False  # the console began it by itself, so that quitting asks nothing about it
    job: RunningJob | None = None
    answering: str = ""  # in a session: the run of the answer under way
    pending: deque[AnyEvent] = field(default_factory=deque)

    @property
    def run_id(self) -> str:
        return str(getattr(self.request, "run_id", ""))

    @property
    def current_run(self) -> str:
        """The run that goes on: the job's own, or in a session that of the answer under way."""
        return self.answering if self.kind == "session" else self.run_id

    @property
    def active(self) -> bool:
        return self.status in ("starting", "running", "paused")

    async def send(self, request: Request) -> None:
        """Pass a request to the worker; a job that has ended ignores it."""
        if self.job is not None and self.active:
            await self.job.send(request)

    def shorten(self) -> None:
        """Forget all but what the job came to: a later one of its kind is looked at now."""
        self.history = [event for event in self.history if not isinstance(event, BULKY)]

    async def pause_or_go_on(self) -> None:
        await self.send(Resume() if self.status == "paused" else Pause())

    async def cancel(self) -> None:
        if self.job is not None and self.active:
            await self.job.cancel()

    def take(self, event: AnyEvent) -> None:
        """Keep what this event says about the job as a whole."""
        match event:
            case Progress():
                self.progress = event
            case TokensGenerated():
                self.writing = event
            case _:
                self.history.append(event)
        match event:
            case GenerationStarted():
                self.answering = event.run_id
            case Paused():
                self.status = "paused"
            case Resumed():
                self.status = "running"
            case JobDone() if self.kind == "session":
                self.answering, self.writing = "", None
            case JobDone():
                self.status = "done" if event.status == "done" else "cancelled"
            case JobFailed():
                self.failure = event
                self.answering, self.writing = "", None
                if self.kind != "session" or not event.run_id:
                    self.status = "failed"
            case _:
                if self.status == "starting":
                    self.status = "running"


class JobRunner:
    """Holds every job of this console. Screens listen; nobody polls."""

    def __init__(
        self, services: Services, store: StoreThread, targets: Callable[[], Iterable[MessagePump]]
    ) -> None:
        self._services = services
        self._store = store
        self._targets = targets  # who is told: the console and every screen that exists
        self._recorder: EventRecorder | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.handles: list[JobHandle] = []
        self.log = JobLog()
        self.record_problem = ""  # why events can't be recorded; empty while they can

    def latest(self, kind: str) -> JobHandle | None:
        """The job of this kind that was started last."""
        return next((handle for handle in reversed(self.handles) if handle.kind == kind), None)

    @property
    def active(self) -> list[JobHandle]:
        return [handle for handle in self.handles if handle.active]

    async def begin(
        self, make_request: Callable[[Any], Request], *, kind: str, title: str, unasked: bool = False
    ) -> JobHandle:
        """Make the request (and the row of its run) in the store's thread, then start the worker.

        `make_request(store)` is a call of `services.begin.begin_quantize` and the like.
        """
        request = await self._store.call(make_request)
        return await self.start(request, kind=kind, title=title, unasked=unasked)

    async def start(self, request: Request, *, kind: str, title: str, unasked: bool = False) -> JobHandle:
        """Start a worker; its events arrive as JobEvents, its changes of status as JobChanged."""
        handle = JobHandle(
            len(self.handles) + 1, kind, title, request, self._services.clock(), unasked=unasked
        )
        for earlier in self.handles:
            if earlier.kind == kind and earlier.ended is not None:
                earlier.shorten()
        self.handles.append(handle)
        self._tell(JobChanged, handle)
        task = asyncio.create_task(self._follow(handle), name=f"job {handle.number}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return handle

    async def _follow(self, handle: JobHandle) -> None:
        try:
            handle.job = await self._services.start_job(handle.request)
            async for event in handle.job.events():
                handle.pending.append(event)
        except Exception as error:  # noqa: BLE001 - whatever breaks the pipe is told as the end of this job
            handle.pending.append(self._lost(handle, sentence(error)))
        await self.flush(handle)
        if handle.active:
            if handle.kind == "session":
                handle.status = "done"
            else:
                handle.pending.append(self._lost(handle, "The worker ended without saying how the job went."))
                await self.flush(handle)
        handle.ended = self._services.clock()
        self._tell(JobChanged, handle)

    def _lost(self, handle: JobHandle, what: str) -> JobFailed:
        return JobFailed(
            t=self._services.clock(),
            run_id=handle.run_id,
            code="lost",
            what=what,
            next_step="Press F8 for the log.",
            exit_code=1,
        )

    async def flush_all(self) -> None:
        """Called ten times a second by the console."""
        for handle in self.handles:
            if handle.pending:
                await self.flush(handle)

    async def flush(self, handle: JobHandle) -> None:
        """Take what has arrived: into the handle, to the screens, to the recorder, in this order."""
        while handle.pending:
            await self._take(
                handle, [handle.pending.popleft() for _ in range(min(MOST, len(handle.pending)))]
            )

    async def _take(self, handle: JobHandle, events: list[AnyEvent]) -> None:
        before = handle.status
        for event in events:
            handle.take(event)
            self.log.take(event)
        self._tell(JobEvents, handle, tuple(events))
        if handle.status != before:
            self._tell(JobChanged, handle)
        await self._record(tuple(events))

    async def _record(self, events: tuple[AnyEvent, ...]) -> None:
        try:
            await self._store.call(lambda store: self._feed(store, events))
            self.record_problem = ""
        except Exception as error:  # noqa: BLE001 - a full disk must not end the job that is being watched
            self.record_problem = sentence(error)

    def _feed(self, store: Any, events: tuple[AnyEvent, ...]) -> None:
        recorder = self._recording(store)
        for event in events:
            recorder.feed(event)

    def _recording(self, store: Any) -> EventRecorder:
        if self._recorder is None:
            self._recorder = self._services.make_recorder(store)
        return self._recorder

    async def note_gpus(self, snapshots: tuple[Any, ...]) -> None:
        """Keep a GPU reading with every run that goes on now."""
        runs = [handle.current_run for handle in self.active if handle.current_run]
        if not snapshots or not runs:
            return

        def keep(store: Any) -> None:
            for run_id in runs:
                self._recording(store).feed_gpus(run_id, snapshots)

        try:
            await self._store.call(keep)
        except Exception as error:  # noqa: BLE001 - as above
            self.record_problem = sentence(error)

    def _tell(self, message: type[JobEvents] | type[JobChanged], *arguments: Any) -> None:
        for target in self._targets():
            target.post_message(message(*arguments))

    async def settle(self) -> None:
        """Wait until every job has ended and everything is recorded (tests use this)."""
        while self._tasks:
            await asyncio.gather(*tuple(self._tasks), return_exceptions=True)

    async def end_all(self) -> None:
        """Cancel what runs and give it a moment to end in order; called when the console closes."""
        active = self.active
        if not active:
            return
        await asyncio.gather(*(handle.cancel() for handle in active), return_exceptions=True)
        tasks = tuple(self._tasks)
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=END_WAIT)
            for task in late:
                task.cancel()
