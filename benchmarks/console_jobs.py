"""How the console feels while a job runs or floods its log: `python -m benchmarks.console_jobs`.

A real worker quantizes a checkpoint of random weights on all cores; a stand-in tells 100,000 lines at once.
Measured are a 50 Hz ticker on the event loop (how late its ticks come) and the time from a key to its paint,
without a terminal: what a terminal adds is its own.
"""

import argparse
import asyncio
import dataclasses
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fqconsole.app.console import FqConsole
from fqconsole.app.garbage import keep_what_is_there
from fqconsole.app.services import real_services
from fqconsole.jobs.messages import (
    PROTOCOL,
    AnyEvent,
    JobDone,
    LogLine,
    Request,
    StartQuantize,
    WorkerStarted,
)

TICK = 0.02  # seconds
KEY_PAUSE = 0.1
SIZE = (120, 40)
LINES = 100_000
WRITE = """
import sys
from pathlib import Path
from benchmarks._checkpoint import write_checkpoint
write_checkpoint(Path(sys.argv[1]), float(sys.argv[2]))
"""
PART = 500  # lines between two chances for others


@dataclasses.dataclass(frozen=True)
class LoopReport:
    """Milliseconds; `late` is how much later than asked a tick came, `paint` from a key to its paint."""

    what: str
    seconds: float
    late_p99: float
    late_max: float
    paint_p95: float
    paint_max: float

    def __str__(self) -> str:
        return (
            f"{self.what}, {self.seconds:.1f} s: "
            f"tick late p99 {self.late_p99:.1f} max {self.late_max:.1f} ms · "
            f"key to paint p95 {self.paint_p95:.1f} max {self.paint_max:.1f} ms"
        )


class Flood:
    """A worker that has much to say."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    async def events(self) -> AsyncIterator[AnyEvent]:
        yield WorkerStarted(
            t=time.time(), pid=os.getpid(), protocol=PROTOCOL, versions={}, device="cpu", device_name="",
            run_id=self._run_id,
        )  # fmt: skip
        for number in range(LINES):
            text = f"line {number}: matrix model.layers.{number % 40}.mlp.down_proj is read"
            yield LogLine(t=time.time(), level="info", text=text)
            if number % PART == 0:
                await asyncio.sleep(0)
        yield JobDone(t=time.time(), run_id=self._run_id, status="done")

    async def send(self, request: Request) -> None:
        pass

    async def cancel(self) -> None:
        pass

    async def wait(self) -> int:
        return 0


async def _tick(lateness: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        lateness.append((time.perf_counter() - before - TICK) * 1000)


async def _press(app: FqConsole, keys: tuple[str, ...], paints: list[float]) -> None:
    """One key after the other; a paint counts when the next picture was drawn."""
    painted = asyncio.Event()
    plain = app._display

    def display(*arguments: Any, **options: Any) -> None:
        plain(*arguments, **options)
        painted.set()

    app._display = display  # type: ignore[method-assign]
    place = 0
    while True:
        await asyncio.sleep(KEY_PAUSE)
        painted.clear()
        began = time.perf_counter()
        app.simulate_key(keys[place % len(keys)])
        place += 1
        await asyncio.wait_for(painted.wait(), 10)
        paints.append((time.perf_counter() - began) * 1000)


async def _measure(what: str, app: FqConsole, start: Any, keys: tuple[str, ...], most: float) -> LoopReport:
    lateness: list[float] = []
    paints: list[float] = []
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.5)
        app.show("quantize")
        await pilot.pause(0.5)
        keep_what_is_there()  # as the console does in a terminal, after its first paint
        began = time.perf_counter()
        job = await start(app)
        watching = [asyncio.create_task(_tick(lateness)), asyncio.create_task(_press(app, keys, paints))]
        while job.ended is None and time.perf_counter() - began < most:
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
        for task in watching:
            task.cancel()
        await pilot.pause(0.2)  # the last key is taken before the screens go
    late, paint = sorted(lateness), sorted(paints)
    return LoopReport(
        what, seconds, late[int(len(late) * 0.99)], late[-1], paint[int(len(paint) * 0.95)], paint[-1]
    )


def _services(home: Path, **changes: Any) -> Any:
    def open_store() -> Any:
        from store import Store

        return Store.open(home / "runs.db")

    return dataclasses.replace(real_services(), open_store=open_store, list_models=list, **changes)


async def measure_job(model: Path, seconds: float) -> LoopReport:
    """While a real worker quantizes the checkpoint in folder `model`, for at most `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        app = FqConsole(_services(Path(folder)))

        async def start(app: FqConsole) -> Any:
            begin = app.services.begin
            return await app.begin_job(
                lambda store: begin.begin_quantize(
                    store, model_id="random", model_path=model, out=Path(folder) / "out", bits=4
                ),
                kind="quantize",
                title="random → int4",
            )

        return await _measure(
            "quantizing", app, start, ("w",), seconds
        )  # the map or the plot: each key draws


async def measure_log() -> LoopReport:
    """While 100,000 lines come at once, with the log drawer open."""
    with tempfile.TemporaryDirectory() as folder:

        async def flood(request: Request) -> Flood:
            return Flood(getattr(request, "run_id", ""))

        app = FqConsole(_services(Path(folder), start_job=flood))

        async def start(app: FqConsole) -> Any:
            app.action_log_drawer()
            request = StartQuantize(run_id="r0001", model_id="m", model_path="/m", out="/o", bits=4)
            return await app.jobs.start(request, kind="quantize", title="flood")

        return await _measure(f"{LINES:,} log lines", app, start, ("down", "up"), 60.0)


def main() -> None:
    """Print the figures of both."""
    parser = argparse.ArgumentParser(
        description="Ticker and key to paint while a job runs or floods its log."
    )
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--gigabytes", type=float, default=0.5)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
    print(asyncio.run(measure_log()))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        # In a process of its own: the console's has no torch in it either.
        subprocess.run([sys.executable, "-c", WRITE, str(model), str(options.gigabytes)], check=True)
        print(asyncio.run(measure_job(model, options.seconds)))


if __name__ == "__main__":
    main()
