"""How the console feels while an answer streams at 500 tokens/s: `python -m benchmarks.console_streams`.

A stand-in worker tells each token by itself (a real one gathers them 20 times a second). Measured are a 50 Hz
ticker on the event loop (how late its ticks come) and the time from a key in the prompt to its paint, without
a terminal: what a terminal adds is its own.
"""

import argparse
import asyncio
import dataclasses
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fqconsole.app.answer import Answer
from fqconsole.app.console import FqConsole
from fqconsole.app.garbage import keep_what_is_there
from fqconsole.app.messages import SessionWanted
from fqconsole.app.services import real_services
from fqconsole.app.turn import Turn
from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.app.widgets.session_panel import SessionPanel
from fqconsole.app.workspace import SessionChoice
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import (
    AnyEvent,
    GenerationDone,
    GenerationStarted,
    JobDone,
    Request,
    Send,
    SessionReady,
    TokensGenerated,
)

TOKENS_A_SECOND = 500
TICK = 0.02  # seconds
KEY_PAUSE = 0.1
SIZE = (120, 40)
TEXT = """## Part {number}

Decoding is **memory-bound**: each token reads *all* weights `once`, so that fewer bytes a weight are fewer
microseconds a token, and [the method](https://example.invalid) says how few they may be.

- codes of 4 bits, packed
- one scale for each group of 64 weights

| form | GiB | tok/s |
|---|--:|--:|
| fp16 | 15.3 | 71 |
| int4 | 4.2 | 148 |

```python
ratio = 16 / 4.25
```

"""


@dataclasses.dataclass(frozen=True)
class StreamReport:
    """Milliseconds; `late` is how much later than asked a tick came, `paint` from a key to its paint."""

    turns: int
    characters: int
    tokens: int
    late_p99: float
    late_max: float
    paint_p95: float
    paint_max: float
    cores: float  # processor time of the whole console over the time that passed

    def __str__(self) -> str:
        return (
            f"{self.turns:4} turns, {self.characters:7,} letters before, {self.tokens:5,} tokens streamed: "
            f"tick late p99 {self.late_p99:5.1f} max {self.late_max:5.1f} ms · "
            f"key to paint p95 {self.paint_p95:5.1f} max {self.paint_max:5.1f} ms · {self.cores:.2f} cores"
        )


class StreamingWorker:
    """Answers each prompt with tokens at a steady pace, for `seconds`."""

    def __init__(self, seconds: float, before: str) -> None:
        self._seconds, self._before = seconds, before
        self._asked: asyncio.Queue[Send | None] = asyncio.Queue()
        self.tokens = 0
        self.go, self.done = asyncio.Event(), asyncio.Event()

    async def events(self) -> AsyncIterator[AnyEvent]:
        yield SessionReady(
            t=time.time(), model_path="/nowhere", precision="int4", device="cpu", context=10**6,
            has_chat_template=False, load_seconds=0.1, weights_bytes=2**20, path="stand-in",
        )  # fmt: skip
        while (send := await self._asked.get()) is not None:
            async for event in self._answer(send):
                yield event

    async def _answer(self, send: Send) -> AsyncIterator[AnyEvent]:
        run = send.run_id
        yield GenerationStarted(
            t=time.time(), run_id=run, prompt_tokens=9, rendered=send.prompt or "", seed=1
        )
        words = [word + " " for word in (TEXT * 200).split(" ")]
        text, count = self._before, 0
        if text:
            yield TokensGenerated(t=time.time(), run_id=run, text=text, count=1, tok_s=None)
        await self.go.wait()
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < self._seconds:
            while count < passed * TOKENS_A_SECOND:
                piece = words[count % len(words)]
                text, count = text + piece, count + 1
                yield TokensGenerated(t=time.time(), run_id=run, text=piece, count=count, tok_s=500.0)
            await asyncio.sleep(0.002)
        self.tokens = count
        yield GenerationDone(
            t=time.time(), run_id=run, text=text, token_ids=tuple(range(count)), prompt_tokens=9, ttft_ms=5.0,
            prefill_tok_s=1000.0, decode_tok_s=500.0, peak_bytes=2**20, stop_reason="end",
        )  # fmt: skip
        yield JobDone(t=time.time(), run_id=run, status="done")
        self.done.set()

    async def send(self, request: Request) -> None:
        if isinstance(request, Send):
            self._asked.put_nowait(request)

    async def cancel(self) -> None:
        self._asked.put_nowait(None)

    async def wait(self) -> int:
        return 0


def earlier_turns(count: int) -> list[Turn]:
    """A dialogue of two kilobytes a turn, as if it had been held."""
    turns = []
    for number in range(count):
        answer = Answer(f"Question {number}", Sampling(seed=1), status="done", run_id=f"r{number:04}")
        text = (TEXT * 4).format(number=number)
        answer.result = GenerationDone(
            t=0.0, run_id=answer.run_id, text=text, token_ids=(1,) * 400, prompt_tokens=9, ttft_ms=5.0,
            prefill_tok_s=1000.0, decode_tok_s=500.0, peak_bytes=2**20, stop_reason="end",
        )  # fmt: skip
        turns.append(Turn(answer.prompt, {"a": answer}))
    return turns


async def _tick(lateness: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        lateness.append((time.perf_counter() - before - TICK) * 1000)


async def _type(app: FqConsole, paints: list[float], done: asyncio.Event) -> None:
    """Type into the prompt; a paint counts when the letter stands in the text."""
    field = app.screen.query_one(PromptField)
    painted = asyncio.Event()
    plain, wanted = app._display, 0

    def display(*arguments: Any, **options: Any) -> None:
        plain(*arguments, **options)
        if len(field.text) >= wanted:
            painted.set()

    app._display = display  # type: ignore[method-assign]
    while not done.is_set():
        await asyncio.sleep(KEY_PAUSE)
        painted.clear()
        wanted = len(field.text) + 1
        began = time.perf_counter()
        app.simulate_key("a")
        await asyncio.wait_for(painted.wait(), 10)
        paints.append((time.perf_counter() - began) * 1000)


async def measure_stream(
    seconds: float = 10.0, *, turns: int = 0, characters: int = 0, home: Path | None = None
) -> StreamReport:
    """Stream for `seconds` after `turns` of dialogue and `characters` of the same answer."""
    with tempfile.TemporaryDirectory() as folder:
        place = home or Path(folder)
        before = (TEXT * (characters // len(TEXT) + 1))[:characters]
        worker = StreamingWorker(seconds, before)

        async def start_job(_request: Request) -> StreamingWorker:
            return worker

        def open_store() -> Any:
            from store import Store

            return Store.open(place / "runs.db")

        services = dataclasses.replace(
            real_services(), start_job=start_job, open_store=open_store, list_models=list, gpu_interval=0
        )
        app = FqConsole(services)
        lateness: list[float] = []
        paints: list[float] = []
        async with app.run_test(size=SIZE) as pilot:
            choice = SessionChoice(path="/nowhere", model_id="stand-in", label="stand-in int4", bits=4)
            app.post_message(SessionWanted(choice))
            await pilot.pause(0.5)
            keep_what_is_there()  # as the console does in a terminal, after its first paint
            screen: Any = app.screen
            screen._talk.turns.extend(earlier_turns(turns))
            screen.query_one(PromptField).write("Tell me about weights.")
            await pilot.press("enter")
            transcript = screen.query_one(SessionPanel).transcript
            while len("".join(transcript.text_lines)) < characters // 2 or len(screen._talk.turns) <= turns:
                await pilot.pause(0.1)
            await pilot.pause(1.0)  # what stood there before is drawn
            ticker = asyncio.create_task(_tick(lateness))
            spent = time.process_time()
            worker.go.set()
            await _type(app, paints, worker.done)
            ticker.cancel()
            spent = time.process_time() - spent
    late = sorted(lateness)
    paint = sorted(paints)
    return StreamReport(
        turns, characters, worker.tokens, late[int(len(late) * 0.99)], late[-1],
        paint[int(len(paint) * 0.95)], paint[-1], spent / seconds,
    )  # fmt: skip


def measure_layout(characters: int = 100_000) -> tuple[float, float, float]:
    """Milliseconds of processor time to lay a long answer out, for another width, and with a line more."""
    from fqconsole.app.passage_rows import Passage, PassageRows

    text = (TEXT * (characters // len(TEXT) + 1))[:characters]
    rows = PassageRows()
    times = []
    for passage, width in (
        (Passage("int4", text, "answer", True), 100),
        (Passage("int4", text, "answer", True), 70),
        (Passage("int4", text + "\nmore", "answer", True), 70),
    ):
        began = time.process_time()
        rows.show([passage], width)
        times.append((time.process_time() - began) * 1000)
    return times[0], times[1], times[2]


def main() -> None:
    """Print the figures for a new, a long and a very long dialogue."""
    parser = argparse.ArgumentParser(description="Ticker and key to paint while an answer streams.")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
    for turns, characters in ((0, 0), (200, 0), (0, 100_000)):
        print(asyncio.run(measure_stream(options.seconds, turns=turns, characters=characters)))
    first, again, more = (
        statistics.median(values) for values in zip(*(measure_layout() for _ in range(5)), strict=True)
    )
    print(
        f"100,000 letters laid out in {first:.0f} ms of processor time, in another width {again:.0f} ms, "
        f"a line more {more:.2f} ms"
    )


if __name__ == "__main__":
    main()
