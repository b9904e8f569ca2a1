"""Sessions and measurements that repeat what real workers once told, from JSON lines in `recorded/`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fqconsole.app.console import FqConsole
from fqconsole.app.messages import SessionWanted
from fqconsole.app.workspace import SessionChoice
from fqconsole.jobs import Recorder, runs
from fqconsole.jobs.messages import (
    AnyEvent,
    GenerationDone,
    GenerationStarted,
    JobDone,
    JobFailed,
    Pause,
    Paused,
    Request,
    Resume,
    Resumed,
    Send,
    SessionReady,
    StartEndpoint,
    StartSession,
    Stop,
    TokensGenerated,
    decode_event,
)
from store import Store
from tests.app.fakes import NOW, FakeGpus, FakeJob, fake_services

RECORDED = Path(__file__).parent / "recorded"
PROMPT = "Once there was a brave girl named Mira."
INT4, SIXTEEN = "session_int4", "session_16bit"


def recorded(name: str) -> list[AnyEvent]:
    return [decode_event(line) for line in (RECORDED / f"{name}.jsonl").read_bytes().splitlines()]


def failure(what: str, next_step: str, *, run_id: str = "", exit_code: int = 1) -> JobFailed:
    return JobFailed(t=NOW, run_id=run_id, code="failed", what=what, next_step=next_step, exit_code=exit_code)


MARKDOWN = """## Why int4 decodes faster

Decoding is **memory-bound**: each token reads *all* weights once.

1. `fp16` reads 16 bits a weight
2. `int4` reads about 4.25, scales included:
   - codes, 4 bits
   - one scale for 64 weights

| form | GiB | tok/s |
|---|--:|--:|
| fp16 | 15.3 | 71 |
| int4 | 4.2 | 148 |

```python
ratio = 16 / 4.25  # [not markup], snake_case_stays
```

> See [the method](https://example.invalid/method)."""


def markdown_answer(text: str = MARKDOWN) -> list[AnyEvent]:
    """An answer with this text, told at once."""
    done = GenerationDone(
        t=NOW + 1, run_id="x", text=text, token_ids=tuple(range(40)), prompt_tokens=9, ttft_ms=38.0,
        prefill_tok_s=4120.0, decode_tok_s=148.0, peak_bytes=2**30, stop_reason="end",
    )  # fmt: skip
    return [
        GenerationStarted(t=NOW, run_id="x", prompt_tokens=9, rendered="<s>Why?", seed=1),
        TokensGenerated(t=NOW + 0.04, run_id="x", text=text, count=40, tok_s=148.0),
        done,
        JobDone(t=NOW + 1, run_id="x", status="done"),
    ]


class RecordedSession:
    """A session worker: opens as recorded, answers each Send with the recorded answer.

    `hold_opening` and `hold_answer` are numbers of events after which it waits for `release`, `asked` is what
    it was sent. `changed` replaces fields of SessionReady.
    """

    def __init__(
        self,
        name: str = INT4,
        *,
        hold_opening: int | None = None,
        hold_answer: int | None = None,
        opening: Sequence[AnyEvent] | None = None,
        answers: Sequence[Sequence[AnyEvent]] = (),
        **changed: Any,
    ) -> None:
        events = recorded(name)
        cut = next(place for place, event in enumerate(events) if isinstance(event, GenerationStarted))
        self._opening = list(events[:cut] if opening is None else opening)
        if changed:
            self._opening = [
                msgspec.structs.replace(event, **changed) if isinstance(event, SessionReady) else event
                for event in self._opening
            ]
        self._answer = events[cut:]
        self._answers = list(answers)
        self._hold_opening, self._hold_answer = hold_opening, hold_answer
        self._requests: asyncio.Queue[Send | None] = asyncio.Queue()
        self._news = asyncio.Event()
        self._stopped = self._ended = False
        self.released = False
        self.asked: list[Request] = []

    def release(self) -> None:
        """Go on where it holds."""
        self.released = True
        self._news.set()

    def die(self) -> None:
        """End without a word, as a killed worker does."""
        self._ended = True
        self._requests.put_nowait(None)
        self._news.set()

    @property
    def sends(self) -> list[Send]:
        return [request for request in self.asked if isinstance(request, Send)]

    async def _wait(self, place: int, hold: int | None) -> None:
        while place == hold and not (self.released or self._stopped or self._ended):
            self._news.clear()
            await self._news.wait()

    async def events(self) -> AsyncIterator[AnyEvent]:
        for place, event in enumerate(self._opening):
            await self._wait(place, self._hold_opening)
            if self._ended:
                return
            yield event
            if isinstance(event, JobFailed):
                return
        while (request := await self._requests.get()) is not None:
            async for event in self._tell(request):
                yield event

    async def _tell(self, request: Send) -> AsyncIterator[AnyEvent]:
        self._stopped = False
        script = self._answers.pop(0) if self._answers else self._answer
        text, count = "", 0
        for place, event in enumerate(script):
            await self._wait(place, self._hold_answer)
            if self._ended:
                return
            if self._stopped:
                done = next(item for item in self._answer if isinstance(item, GenerationDone))
                yield msgspec.structs.replace(
                    done,
                    run_id=request.run_id,
                    text=text,
                    token_ids=done.token_ids[:count],
                    stop_reason="stopped",
                )
                yield JobDone(t=NOW, run_id=request.run_id, status="done")
                return
            if isinstance(event, TokensGenerated):
                text, count = text + event.text, event.count
            named = hasattr(event, "run_id")
            yield msgspec.structs.replace(event, run_id=request.run_id) if named else event

    async def send(self, request: Request) -> None:
        self.asked.append(request)
        if isinstance(request, Send):
            self._requests.put_nowait(request)
        elif isinstance(request, Stop):
            self._stopped = True
            self._news.set()

    async def cancel(self) -> None:
        self.die()

    async def wait(self) -> int:
        return 0


class RecordedMeasurement(FakeJob):
    """An evaluate worker that holds after `hold` events; it obeys Pause and Resume at once."""

    def __init__(self, hold: int | None = None) -> None:
        super().__init__(recorded("evaluate"), hold)
        self.run_id = "r0003"

    async def events(self) -> AsyncIterator[AnyEvent]:
        for index, event in enumerate(self.script):
            while index == self.hold and not self.cancelled:
                told = await self.extra.get()
                if told is None:
                    break
                yield told
            if self.cancelled:
                return
            named = getattr(event, "run_id", "")
            yield msgspec.structs.replace(event, run_id=self.run_id) if named else event

    async def send(self, request: Request) -> None:
        await super().send(request)
        if isinstance(request, Pause):
            self.extra.put_nowait(Paused(t=NOW))
        elif isinstance(request, Resume):
            self.extra.put_nowait(Resumed(t=NOW))

    def release(self) -> None:
        self.extra.put_nowait(None)  # type: ignore[arg-type]

    async def cancel(self) -> None:
        self.cancelled = True
        self.extra.put_nowait(JobDone(t=NOW, run_id=self.run_id, status="cancelled"))


class Workers:
    """Starts what a test prepared: a session for each model folder, one measurement."""

    def __init__(self, sessions: dict[str, RecordedSession], measurement: RecordedMeasurement) -> None:
        self.sessions, self.measurement = sessions, measurement
        self.started: list[Request] = []

    async def __call__(self, request: Request) -> Any:
        self.started.append(request)
        if isinstance(request, StartSession):
            return self.sessions[request.model_path]
        if isinstance(request, StartEndpoint):
            return self.sessions[request.url]
        self.measurement.run_id = getattr(request, "run_id", "")
        return self.measurement


class SessionStage:
    """A console with a real run database, one quantized checkpoint in it, and recorded workers."""

    def __init__(
        self,
        folder: Path,
        *,
        first: RecordedSession | None = None,
        second: RecordedSession | None = None,
        measurement: RecordedMeasurement | None = None,
        model_id: str = "demo",
        prompt: str = PROMPT,
        gpus: FakeGpus | None = None,
    ) -> None:
        self.folder = folder
        self.checkpoint, self.original = folder / "demo-int4", folder / "demo"
        for place in (self.checkpoint, self.original):
            place.mkdir(exist_ok=True)
        self.first = first or RecordedSession()
        self.second = second or RecordedSession(SIXTEEN)
        self.measurement = measurement or RecordedMeasurement(hold=0)
        with self.open_store() as store:
            self.made = make_checkpoint_run(store, self.checkpoint, self.original, model_id)
        self.workers = Workers(
            {str(self.checkpoint): self.first, str(self.original): self.second}, self.measurement
        )
        self.choice = SessionChoice(
            path=str(self.checkpoint),
            model_id=model_id,
            label=f"{model_id.rpartition('/')[2]} int4",
            bits=4,
            suggested_prompt=prompt,
            parent_run=self.made,
            reference_path=str(self.original),
        )
        self.app = FqConsole(
            fake_services(
                gpus=gpus,
                open_store=self.open_store,
                make_recorder=Recorder,
                begin=runs,
                start_job=self.workers,
            )
        )

    def open_store(self) -> Store:
        return Store.open(self.folder / "runs.db")

    def open_session(self, choice: SessionChoice | None = None) -> None:
        self.app.post_message(SessionWanted(choice or self.choice))


def make_checkpoint_run(store: Store, checkpoint: Path, original: Path, model_id: str = "demo") -> str:
    """A finished quantize run as the store keeps it."""
    run_id = store.begin_run(
        "quantize",
        model_id,
        path=str(checkpoint.resolve()),
        options={"model_path": str(original), "granularity": "adaptive", "group_size": "default", "bits": 4},
        host={},
        pid=1,
        pid_started=0.0,
        bits=4,
        group_size=64,
        granularity="adaptive",
        started=NOW - 600,
    )
    store.add_metrics(
        run_id, {"bytes": 4_399_616, "source_bytes": 13_640_192, "bits_per_weight": 4.25, "seconds": 0.3}
    )
    store.finish_run(run_id, "done", ended=NOW - 599)
    return run_id
