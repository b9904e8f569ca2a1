"""Recordings: what workers told and what they were asked, of one job or of a whole evening at the console.

One JSON object a line. An event alone (`fqconsole quantize … --events > file`) belongs to the one job of its
file; the console writes `{"job": 1, "t": …, "request": {…}}` and `{"job": 1, "event": {…}}`. A name that ends
in .gz is compressed. What a killed console has recorded is read as far as it goes.
"""

import gzip
import os
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import msgspec

from fqconsole.errors import MALFORMED, UsageError
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import (
    AnyEvent,
    CheckpointWritten,
    EvaluationDone,
    GenerationStarted,
    PlanReady,
    Request,
    Send,
    SessionReady,
    StartEvaluate,
    StartQuantize,
    StartSession,
    decode_event,
    decode_request,
    encode,
)
from fqconsole.private_files import owners_alone

ADVICE = "Name a file of events, one JSON object a line: see docs/jobs.md."
MOST_BYTES = 1 << 30  # of a recording, unpacked
GZIP = 16 + zlib.MAX_WBITS  # zlib's word for a stream with gzip's head
NOTHING = msgspec.Raw(b"")


class Worker(Protocol):
    """The console's side of a job, as `fqconsole.jobs.Job` is."""

    def events(self) -> AsyncIterator[AnyEvent]: ...

    async def send(self, request: Request) -> None: ...

    async def cancel(self) -> None: ...

    async def wait(self) -> int: ...


@dataclass(frozen=True)
class Entry:
    """An event, or a request that was sent to the worker, at `t` seconds since the epoch."""

    t: float
    said: AnyEvent | Request


@dataclass(frozen=True)
class RecordedJob:
    """What one worker was started with, and everything after that in order."""

    start: Request
    entries: tuple[Entry, ...]
    t: float

    @property
    def events(self) -> tuple[AnyEvent, ...]:
        return tuple(entry.said for entry in self.entries if not isinstance(entry.said, Request))

    @property
    def prompts(self) -> tuple[Send, ...]:
        """What a session was asked."""
        return tuple(entry.said for entry in self.entries if isinstance(entry.said, Send))


class _Line(msgspec.Struct):
    """A line of the console; `type` stands only in a bare event."""

    job: int = 1
    t: float = 0.0
    request: msgspec.Raw = NOTHING
    event: msgspec.Raw = NOTHING
    type: str = ""


def read_recording(path: Path) -> tuple[RecordedJob, ...]:
    """The jobs in a recording, in the order of their start.

    A last line that breaks off is left out: whoever wrote it was killed. Raises UsageError where the file
    can't be read, names the line that is none, or holds no job.
    """
    starts: dict[int, Entry] = {}
    entries: dict[int, list[Entry]] = {}
    for number, line, whole in _lines(path):
        try:
            job, entry = _entry(line)
        except MALFORMED as error:
            if not whole:
                break
            raise UsageError(f"Line {number} of {path} is no event: {error}.", ADVICE) from None
        if isinstance(entry.said, Request) and job not in starts and not isinstance(entry.said, Send):
            starts[job] = entry
            entries.setdefault(job, [])
        else:
            entries.setdefault(job, []).append(entry)
    found = []
    for job, said in entries.items():
        start = starts.get(job)
        if start is None:
            start = _guessed(said)
            said = _with_prompts(said)  # noqa: PLW2901 - what the file leaves out
        if start is not None:
            found.append(RecordedJob(cast(Request, start.said), tuple(said), start.t))
    if not found:
        raise UsageError(f"{path} holds no job that can be shown.", ADVICE)
    return tuple(sorted(found, key=lambda job: job.t))


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Number, text and whether it has its end, of every line with something in it."""
    try:
        content = _unpacked(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"The recording {path} can't be read: {error.strerror}.", ADVICE) from None
    except zlib.error:
        raise UsageError(f"The recording {path} is no gzip file, as its name says.", ADVICE) from None
    if len(content) > MOST_BYTES:
        raise UsageError(f"The recording {path} is larger than 1 GiB.", ADVICE)
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line, number < len(lines)


def _unpacked(content: bytes) -> bytes:
    """What a gzip stream holds, also one without its end; not much more than a recording may have."""
    return zlib.decompressobj(GZIP).decompress(content, MOST_BYTES + 1)


def _entry(line: bytes) -> tuple[int, Entry]:
    parts = msgspec.json.decode(line, type=_Line)
    if bytes(parts.request):
        return parts.job, Entry(parts.t, decode_request(bytes(parts.request)))
    event = decode_event(bytes(parts.event) or line)
    return parts.job, Entry(event.t, event)


def _guessed(entries: list[Entry]) -> Entry | None:
    """How a job began of which only events are known: by what it told; None for a kind that has no screen."""
    events = [entry.said for entry in entries]
    written = next((event for event in events if isinstance(event, CheckpointWritten)), None)
    for event in events:
        match event:
            case PlanReady(run_id=run_id, plan=plan):
                start: Request = StartQuantize(
                    run_id=run_id,
                    model_id=plan.model,
                    model_path=plan.model,
                    out=written.checkpoint if written else plan.model,
                    bits=plan.bits,
                    granularity=plan.granularity,
                    group_size=plan.group_size,
                )
            case SessionReady(model_path=model_path, context=context):
                start = StartSession(model_path=model_path, context=context)
            case EvaluationDone(run_id=run_id):
                start = StartEvaluate(run_id=run_id, checkpoint_path="", reference_path="")
            case _:
                continue
        return Entry(entries[0].t, start)
    return None


def _with_prompts(entries: list[Entry]) -> list[Entry]:
    """A prompt before each answer whose own is not recorded: what the model saw is what is known of it."""
    whole: list[Entry] = []
    for entry in entries:
        if isinstance(entry.said, GenerationStarted):
            event = entry.said
            asked = Send(run_id=event.run_id, sampling=Sampling(seed=event.seed), prompt=event.rendered)
            whole.append(Entry(entry.t, asked))
        whole.append(entry)
    return whole


class RecordingWriter:
    """Writes what every job is asked and tells; each line is on the disk at once."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Raises UsageError where the file can't be written."""
        self._clock = clock
        self._jobs = 0
        try:
            os.close(owners_alone(str(path), os.O_WRONLY | os.O_CREAT))
            file = gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb")  # noqa: SIM115 - see close
        except OSError as error:
            raise UsageError(
                f"The recording {path} can't be written: {error.strerror}.", "Name another file."
            ) from None
        self._file = cast(BinaryIO, file)

    def recorded(self, start: Callable[[Any], Awaitable[Worker]]) -> Callable[[Any], Awaitable[Worker]]:
        """`start`, with every job it starts recorded."""

        async def starting(request: Request) -> Worker:
            self._jobs += 1
            number = self._jobs
            self.note(number, request)
            return _Recorded(await start(request), self, number)

        return starting

    def note(self, job: int, said: Request | AnyEvent) -> None:
        """Write one line; a full disk ends the recording and nothing else."""
        if self._file.closed:
            return
        whole = encode(said).strip()
        kind = b'"t":%.6f,"request"' % self._clock() if isinstance(said, Request) else b'"event"'
        try:
            self._file.write(b'{"job":%d,%s:%s}\n' % (job, kind, whole))
            self._file.flush()
        except OSError:
            self.close()

    def close(self) -> None:
        self._file.close()


class _Recorded:
    """A worker whose words are written down."""

    def __init__(self, worker: Worker, writer: RecordingWriter, number: int) -> None:
        self._worker, self._writer, self._number = worker, writer, number

    async def events(self) -> AsyncIterator[AnyEvent]:
        async for event in self._worker.events():
            self._writer.note(self._number, event)
            yield event

    async def send(self, request: Request) -> None:
        self._writer.note(self._number, request)
        await self._worker.send(request)

    async def cancel(self) -> None:
        await self._worker.cancel()

    async def wait(self) -> int:
        return await self._worker.wait()
