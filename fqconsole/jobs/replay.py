"""A recorded stream of events, played back with the face of a job: for demonstrations and for tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from fqconsole.errors import UsageError
from fqconsole.jobs.messages import AnyEvent, Cancel, JobDone, JobFailed, Request, decode_event

LONGEST_WAIT = 10.0  # seconds: a recording may hold a coffee break, a demonstration should not


class Replay:
    """Stands in for `Job`. `speed` 1 keeps the recorded time, 4 is four times as fast, None does not wait.

    Requests change nothing but `Cancel`, which ends the stream. The recorded times `t` stay as they were.
    """

    def __init__(
        self,
        events: tuple[AnyEvent, ...],
        *,
        speed: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._events = events
        self._speed = speed
        self._sleep = sleep
        self._next = 0
        self._cancelled = False
        self.asked: list[Request] = []

    @classmethod
    def read(cls, path: Path, *, speed: float | None = None) -> "Replay":
        """The recording in a JSON lines file. Raises UsageError naming the line that is no event."""
        return cls(read_events(path), speed=speed)

    @property
    def running(self) -> bool:
        return not self._cancelled and self._next < len(self._events)

    async def events(self) -> AsyncIterator[AnyEvent]:
        """Each recorded event once, in order."""
        while self._next < len(self._events) and not self._cancelled:
            event = self._events[self._next]
            if self._speed is not None and self._next:
                gap = event.t - self._events[self._next - 1].t
                await self._sleep(min(max(0.0, gap), LONGEST_WAIT) / self._speed)
            if self._ended_meanwhile():
                return
            self._next += 1
            yield event

    def _ended_meanwhile(self) -> bool:
        return self._cancelled

    async def send(self, request: Request) -> None:
        self.asked.append(request)
        if isinstance(request, Cancel):
            self._cancelled = True

    async def cancel(self) -> None:
        await self.send(Cancel())

    async def wait(self) -> int:
        """130 when cancelled, else what the recorded job ended with."""
        if self._cancelled:
            return 130
        for event in reversed(self._events):
            if isinstance(event, JobFailed):
                return event.exit_code
            if isinstance(event, JobDone):
                return 0 if event.status == "done" else 130
        return 0


def read_events(path: Path) -> tuple[AnyEvent, ...]:
    """Every event of a recording. Raises UsageError where the file or a line of it can't be read."""
    advice = "Name a file of events, one JSON object a line: see docs/jobs.md."
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"The recording {path} can't be read: {error.strerror}.", advice) from None
    events = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                events.append(decode_event(line))
            except msgspec.MsgspecError as error:
                raise UsageError(f"Line {number} of {path} is no event: {error}.", advice) from None
    return tuple(events)
