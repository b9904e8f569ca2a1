"""How fast the Runs screen is with 10,000 runs: `python -m benchmarks.console_runs`.

Measured are the time from asking for the screen to its painted list, and from each letter typed into the
filter to the list that it leaves, without a terminal: what a terminal adds is its own. Prompts and answers
are words of two or three syllables (fixed seed); each occurs in hundreds of texts.
"""

import argparse
import asyncio
import dataclasses
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fqconsole.app.console import FqConsole
from fqconsole.app.garbage import keep_what_is_there
from fqconsole.app.services import real_services
from fqconsole.app.widgets.filter_field import FilterInput
from fqconsole.app.widgets.run_list import PAGE, RunList
from store import Store

SIZE = (120, 40)
OPENINGS = 5
MODELS = ("Qwen/Qwen3-8B", "demo", "demo-moe", "google/gemma-3-27b-it", "meta-llama/Llama-3.1-8B")
SETTLED = 1.0  # seconds until an operator presses the first key: the screens' modules are loaded by then
FILTERS = ("bits<=4 model:qwen ", "kind:generate tok_s>100 ", "ppl<9 status:done ", "lamo status:done ")


@dataclasses.dataclass(frozen=True)
class RunsReport:
    """Milliseconds. `first` is the first opening, which also makes the screen."""

    runs: int
    first: float
    openings: tuple[float, ...]
    keys: tuple[float, ...]

    def __str__(self) -> str:
        keys = sorted(self.keys)
        p95 = keys[int(len(keys) * 0.95)]
        return (
            f"{self.runs:,} runs: list first {self.first:.0f}, again {statistics.median(self.openings):.0f} "
            f"(max {max(self.openings):.0f}) ms · filter a key median {statistics.median(keys):.0f}, "
            f"p95 {p95:.0f}, max {keys[-1]:.0f} ms"
        )


def fill(path: Path, count: int) -> None:
    """A runs file with `count` runs: a tenth made checkpoints, a tenth measured them, the rest answers."""
    drawn = random.Random(7)
    syllables = [a + b for a in "bdfgklmnprstvw" for b in "aeiou"]
    words = ["".join(drawn.choices(syllables, k=drawn.choice((2, 3)))) for _ in range(3000)]
    now, made = time.time(), ""
    with Store.open(path) as store, store.transaction():
        for number in range(count):
            kind = {0: "quantize", 1: "evaluate"}.get(number % 10, "generate")
            bits = drawn.choice((3, 4, 8))
            run = store.begin_run(
                kind, drawn.choice(MODELS), options={}, host={}, pid=1, pid_started=0.0,
                started=now - (count - number) * 600, bits=bits, group_size=64, granularity="adaptive",
                path=f"/checkpoints/{number // 10}", parent=made if made and kind != "quantize" else None,
            )  # fmt: skip
            if kind == "quantize":
                made = run
                metrics = {
                    "bytes": drawn.random() * 1e10,
                    "bits_per_weight": bits + 0.25,
                    "source_bytes": 1.6e10,
                }
            elif kind == "evaluate":
                metrics = {"perplexity": 8 + drawn.random() * 3, "kl_divergence": drawn.random() / 10}
            else:
                metrics = {"decode_tok_s": drawn.random() * 200, "ttft_ms": drawn.random() * 90}
                prompt, answer = (" ".join(drawn.choices(words, k=k)) for k in (15, 150))
                row = {"prompt": prompt, "output": answer, "sampling": {"temperature": 0.7}, "seed": 7}
                store.add_generation(run, row)
            store.add_metrics(run, metrics)
            measured = int(drawn.random() * 1e10)
            row = {"gpu": 0, "term": "total", "predicted": 10**10, "measured": measured}
            store.add_memory(run, [row])
            store.finish_run(run, drawn.choice(("done", "done", "done", "failed")), ended=now)


async def measure(path: Path) -> RunsReport:
    """Open the list and type the filters, on the runs file `path`."""
    services = dataclasses.replace(real_services(), open_store=lambda: Store.open(path), gpu_interval=0.0)
    with Store.open(path) as store:
        runs = store.count_runs()
    app = FqConsole(services)
    async with app.run_test(size=SIZE):
        await app.store.call(lambda _store: None)
        await asyncio.sleep(SETTLED)
        keep_what_is_there()  # as the console does in a terminal, after its first paint
        openings = []
        for _ in range(OPENINGS + 1):
            began = time.perf_counter()
            app.show("runs")
            await _until(app, lambda: _list_of(app) is not None and len(_rows(app)) >= min(PAGE, runs))
            openings.append((time.perf_counter() - began) * 1e3)
            app.show("models")
            await _until(app, lambda: app.current_mode == "models")
        app.show("runs")
        await _until(app, lambda: _list_of(app) is not None)
        await asyncio.sleep(SETTLED)
        box = app.screen.query_one(FilterInput)
        box.focus()
        keys = []
        for text in FILTERS:
            for letter in text:
                began = time.perf_counter()
                box.insert_text_at_cursor(letter)
                await _until(app, lambda: app.screen.query_one(RunList).listed == box.value.strip())
                keys.append((time.perf_counter() - began) * 1e3)
            box.value = ""
            await _until(app, lambda: app.screen.query_one(RunList).listed == "")
    return RunsReport(runs, openings[0], tuple(openings[1:]), tuple(keys))


def _list_of(app: FqConsole) -> RunList | None:
    return next(iter(app.screen.query(RunList)), None)


def _rows(app: FqConsole) -> list[object]:
    found = _list_of(app)
    return list(found.rows) if found is not None else []


async def _until(app: FqConsole, reached: Callable[[], bool]) -> None:
    """Wait until it is so, and painted."""
    while not reached():
        await asyncio.sleep(0.0005)
    painted = asyncio.Event()
    app.screen.call_after_refresh(painted.set)
    await painted.wait()


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description="Time of the Runs screen with many runs.")
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FQCONSOLE_HOME"] = folder
        path = Path(folder) / "many.db"
        fill(path, options.runs)
        report = asyncio.run(measure(path))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}")
    print(report)


if __name__ == "__main__":
    main()
