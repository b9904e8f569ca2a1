"""What a console gathers over a long day: `python -m benchmarks.soak [--answers 500] [--quantize 100]`.

One console (without a terminal) opens a session and asks it for many answers, then quantizes many times, each
job in a real worker. Printed are the console's own memory, its open files, the run database and, where there
are GPUs, what is used of them along the way: what grows with the number of jobs would show. Answers come from
the first GPU, if there is one; `--device cuda` quantizes there too.
"""

import argparse
import asyncio
import gc
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

SIZE = (120, 40)
MIB = 2**20
TOKENS = 24
TURNS = 10  # then a new dialogue begins, as people do


def resident() -> int:
    """Bytes of memory that this process holds, as Linux counts them."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def used_of_gpus() -> int | None:
    """Bytes used on all GPUs, by whomever; None where there is none."""
    from fqconsole.gpus import open_gpus

    used = [sample.memory_used for sample in open_gpus().sample() if sample.memory_used is not None]
    return sum(used) if used else None


class Diary:
    """Readings along the way."""

    def __init__(self, store: Path) -> None:
        self._store = store
        # After what; memory, open files, database, GPUs.
        self.lines: list[tuple[str, int, int, int, int | None]] = []

    def note(self, after: str) -> None:
        gc.collect()
        database = sum(path.stat().st_size for path in self._store.parent.glob(f"{self._store.name}*"))
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        self.lines.append((after, resident(), files, database, used_of_gpus()))

    def show(self) -> str:
        head = f"{'after':<20}{'console MiB':>12}{'open files':>12}{'database MiB':>14}{'GPUs MiB':>10}"
        return "\n".join([head, *(self._line(*line) for line in self.lines)])

    @staticmethod
    def _line(after: str, memory: int, files: int, database: int, gpus: int | None) -> str:
        used = "–" if gpus is None else f"{gpus / MIB:.0f}"
        return f"{after:<20}{memory / MIB:>12.1f}{files:>12}{database / MIB:>14.2f}{used:>10}"

    def growth(self) -> float:
        """MiB from the first reading to the last."""
        return (self.lines[-1][1] - self.lines[0][1]) / MIB


async def ended(handle: Any) -> None:
    while handle.ended is None:
        await asyncio.sleep(0.02)
    if handle.status != "done":
        raise SystemExit(f"{handle.title}: {handle.status}: {handle.failure}")


async def answers(app: Any, pilot: Any, count: int, diary: Diary) -> None:
    """`count` prompts through the Session screen, a new dialogue after each ten."""
    from fqconsole.app.messages import SessionWanted
    from fqconsole.app.widgets.prompt_field import PromptField
    from fqconsole.app.workspace import SessionChoice
    from fqconsole.models import resolve_model

    path = resolve_model("demo").path or ""
    app.post_message(SessionWanted(SessionChoice(path, "demo", "demo 16-bit", context=512)))
    await pilot.pause(0.2)
    for number in range(1, count + 1):
        before = app.jobs.latest("session")
        told = 0 if before is None else len(before.history)
        app.screen.query_one(PromptField).write(f"Once there were {number} cats.")
        await pilot.press("enter")
        await answered(app, told)
        if number % TURNS == 0:
            await pilot.press("ctrl+n")
        if number == TURNS or number % max(TURNS, count // 10) == 0:
            diary.note(f"{number} answers")


async def answered(app: Any, told: int) -> None:
    """Wait until the session has told the end of one more run."""
    from fqconsole.jobs.messages import JobDone, JobFailed

    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        job = app.jobs.latest("session")
        new = [] if job is None else job.history[told:]
        if any(isinstance(event, JobDone) for event in new):
            return
        failure = next((event for event in new if isinstance(event, JobFailed)), None)
        if failure is not None:
            raise SystemExit(failure.what)
        await asyncio.sleep(0.01)
    raise SystemExit("no answer within two minutes")


async def quantizes(app: Any, count: int, place: Path, device: str, diary: Diary) -> None:
    """`count` quantize jobs, one after the other; each checkpoint is deleted."""
    from fqconsole.models import resolve_model

    path = resolve_model("demo").path
    for number in range(1, count + 1):
        out = place / "made"

        def begin(store: Any, out: Path = out) -> Any:
            return app.services.begin.begin_quantize(
                store, model_id="demo", model_path=path, out=out, bits=4, mode="fast", device=device
            )

        await ended(await app.jobs.begin(begin, kind="quantize", title=f"quantize {number}"))
        shutil.rmtree(out)
        if number in {1, 2} or number % max(1, count // 10) == 0:
            diary.note(f"{number} quantize jobs")


async def soak(count_answers: int, count_quantizes: int, device: str) -> float:
    from fqconsole import paths
    from fqconsole.app.console import FqConsole
    from fqconsole.app.garbage import keep_what_is_there
    from fqconsole.app.services import real_services

    diary = Diary(paths.store_file())
    app = FqConsole(real_services())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(1)
        keep_what_is_there()  # as the console does in a terminal, after its first paint
        await answers(app, pilot, count_answers, diary)
        await quantizes(app, count_quantizes, paths.cache_dir(), device, diary)
    print(diary.show())
    return diary.growth()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--answers", type=int, default=500)
    parser.add_argument("--quantize", type=int, default=100)
    parser.add_argument("--device", default="cpu", help="of the quantize jobs")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["FQCONSOLE_HOME"] = home
        grown = asyncio.run(soak(options.answers, options.quantize, options.device))
    print(f"the console's memory grew by {grown:.1f} MiB from the first reading to the last")


if __name__ == "__main__":
    main()
