"""A recorded job played back with the face of a worker: for demonstrations and for tests."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from fqconsole.jobs.messages import (
    AnyEvent,
    Cancel,
    JobDone,
    JobFailed,
    Pause,
    Paused,
    Request,
    Resume,
    Resumed,
    Send,
    StartEndpoint,
    StartSession,
    Stop,
)
from fqconsole.jobs.recording import Entry, RecordedJob, read_recording

SESSIONS = (StartSession, StartEndpoint)
LONGEST_WAIT = 10.0  # seconds: a recording may hold a coffee break, a demonstration should not
NOTHING_MORE = (
    "This is a recording: nothing more was asked in it.",
    "q quits, or look at the other screens.",
)


class Replay:
    """Stands in for `Job`. `speed` 1 keeps the recorded time, 4 is four times as fast, None does not wait.

    Without a `clock` it is just the recorded stream. With one, events carry its times and the run ids of
    live requests, and a session waits for prompts: it tells the recorded answer, whatever it is asked.
    """

    def __init__(
        self,
        job: RecordedJob,
        request: Request | None = None,
        *,
        speed: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._job, self._speed, self._sleep, self._clock = job, speed, sleep, clock
        self._waiting: asyncio.Queue[Request] = asyncio.Queue()
        self._going = asyncio.Event()
        self._going.set()
        self._last_time: float | None = None
        self._hurry = False
        self._cancelled = False
        self._code = 0
        self._runs = {getattr(job.start, "run_id", ""): getattr(request or job.start, "run_id", "")}
        self._open = "" if isinstance(job.start, SESSIONS) else next(iter(self._runs.values()))
        self.asked: list[Request] = []

    @classmethod
    def read(cls, path: Path, *, speed: float | None = None) -> "Replay":
        """The first job in a file. Raises UsageError as `read_recording` does."""
        return cls(read_recording(path)[0], speed=speed)

    async def events(self) -> AsyncIterator[AnyEvent]:
        """Each recorded event once, in order; after those of a session, a refusal for each further prompt."""
        for entry in self._job.entries:
            if isinstance(entry.said, Send) and self._clock is not None:
                await self._prompt_for(entry.said.run_id)
            if self._cancelled:
                break
            if isinstance(entry.said, Request | Paused | Resumed):
                continue
            async for event in self._in_time(entry):
                yield event
        if isinstance(self._job.start, SESSIONS) and self._clock is not None:
            async for event in self._refusals():
                yield event
        if self._cancelled and self._open:
            yield JobDone(t=self._now(self._job.t), run_id=self._open, status="cancelled")

    async def _in_time(self, entry: Entry) -> AsyncIterator[AnyEvent]:
        """The event when its time has come; what holds it up in between is told."""
        await self._gap(entry.t)
        if not self._going.is_set() and not self._cancelled:
            yield Paused(t=self._now(entry.t))
            await self._going.wait()
            yield Resumed(t=self._now(entry.t))
        if not self._cancelled:
            yield self._live(entry)

    async def _gap(self, t: float) -> None:
        if self._speed is not None and self._last_time is not None and not self._hurry:
            await self._sleep(min(max(0.0, t - self._last_time), LONGEST_WAIT) / self._speed)
        self._last_time = t

    async def _prompt_for(self, recorded: str) -> None:
        request = await self._waiting.get()
        self._open = self._runs[recorded] = getattr(request, "run_id", "")
        self._last_time, self._hurry = None, False

    async def _refusals(self) -> AsyncIterator[AnyEvent]:
        while not self._cancelled:
            request = await self._waiting.get()
            if isinstance(request, Send):
                what, next_step = NOTHING_MORE
                yield JobFailed(
                    t=self._now(0.0), run_id=request.run_id, code="replay", what=what, next_step=next_step,
                    exit_code=1,
                )  # fmt: skip

    def _live(self, entry: Entry) -> AnyEvent:
        event: AnyEvent = entry.said  # type: ignore[assignment]  # requests were sorted out before
        changes: dict[str, object] = {"t": self._now(event.t)}
        run_id = getattr(event, "run_id", None)
        if run_id is not None:
            changes["run_id"] = self._runs.get(run_id, run_id)
        if isinstance(event, JobDone | JobFailed):
            self._open = ""
            self._hurry = False
            self._code = _exit_code(event)
        return msgspec.structs.replace(event, **changes)

    def _now(self, recorded: float) -> float:
        return self._clock() if self._clock is not None else recorded

    async def send(self, request: Request) -> None:
        """Requests as a worker takes them: prompts, stop (the rest of the answer at once), pause, cancel."""
        self.asked.append(request)
        match request:
            case Send():
                self._waiting.put_nowait(request)
            case Stop():
                self._hurry = True
            case Pause():
                self._going.clear()
            case Resume():
                self._going.set()
            case Cancel():
                self._cancelled = True
                self._going.set()
                self._waiting.put_nowait(request)

    async def cancel(self) -> None:
        await self.send(Cancel())

    async def wait(self) -> int:
        """130 when cancelled, else what the recorded job ended with."""
        return 130 if self._cancelled else self._code


def _exit_code(event: JobDone | JobFailed) -> int:
    if isinstance(event, JobFailed):
        return event.exit_code
    return 0 if event.status == "done" else 130


class ReplayedWorkers:
    """Starts recorded jobs instead of workers: each request gets the next recorded job of its kind."""

    def __init__(
        self,
        jobs: tuple[RecordedJob, ...],
        *,
        speed: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._left = list(jobs)
        self._speed, self._clock = speed, clock

    async def start(self, request: Request) -> Replay:
        """Raises OperatorError where the recording holds no such job any more."""
        from fqconsole.errors import OperatorError

        alike = [job for job in self._left if type(job.start) is type(request)]
        if not alike:
            raise OperatorError(
                "The recording holds no more of this.", "q quits, or look at the other screens."
            )
        place = getattr(request, "model_path", "")
        job = next((job for job in alike if getattr(job.start, "model_path", "") == place), alike[0])
        self._left.remove(job)
        return Replay(job, request, speed=self._speed, clock=self._clock)
