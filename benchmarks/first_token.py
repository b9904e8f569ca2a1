"""From Enter to the first token of a session: with an empty kernel cache, with a warm one, without a spare.

    python -m benchmarks.first_token FOLDER [--device cuda]
    python -m benchmarks.first_token FOLDER --shape llama-3-8b --bits 4     # random weights, made in FOLDER

As the console does it: a spare worker has loaded its libraries before Enter; then it loads the model, warms
it up, and gets a prompt. The last column is a start without one, as the commands do it. Files that were just
written lie in the page cache. On a CPU nothing is compiled, and an empty cache is like a warm one. A table
says what the time went to, by the worker's own clock; what it does not tell is between its events and this
process.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._folder_argument import add_folder, make_folder
from benchmarks._table import table
from fqconsole.generation.options import Sampling
from fqconsole.jobs import Job
from fqconsole.jobs.messages import JobFailed, Send, SessionReady, StartSession, TokensGenerated
from fqconsole.jobs.spare import SpareWorker

CACHE = "TRITON_CACHE_DIR"
PROMPT = "Once there was a brave girl named Mira. " * 12
STARTS = (("empty", True), ("warm", True), ("warm", False))  # kernel cache, and whether a spare waits


@dataclass(frozen=True)
class Start:
    """Seconds from Enter to a session that is ready, of which the worker says it loaded `load`; and to the
    first token. `stages`: what the worker says the time until it was ready went to. `spare`: a worker waited
    for Enter, with its libraries loaded.
    """

    cache: str  # "empty" or "warm"
    ready: float
    load: float
    first_token: float
    stages: dict[str, float] = field(default_factory=dict)
    spare: bool = False

    @property
    def name(self) -> str:
        """What sets it apart from the other starts."""
        return f"{self.cache} kernel cache, {'with a' if self.spare else 'no'} spare"

    @property
    def parts(self) -> dict[str, float]:
        """The stages, what is in none of them, and the first prompt; together `first_token`."""
        told = sum(self.stages.values())
        rest = {"not told": self.ready - told, "first prompt": self.first_token - self.ready}
        return self.stages | rest


async def start_once(folder: Path, device: str, cache: str, *, with_spare: bool) -> Start:
    """One session, one prompt, until its first token. Raises RuntimeError with the worker's sentence."""
    spare = await SpareWorker.start() if with_spare else None
    if spare is not None and not await spare.wait_ready():
        raise RuntimeError("the spare worker ended before it was ready; `fqconsole paths` names the logs")
    begun = time.perf_counter()
    ready = load = 0.0
    stages: dict[str, float] = {}
    request = StartSession(model_path=str(folder), device=device, context=1024)
    async with await Job.start(request, spare=spare) as job:
        if spare is not None and job.pid != spare.pid:
            raise RuntimeError("the spare worker was not taken")
        async for event in job.events():
            now = time.perf_counter() - begun
            match event:
                case SessionReady():
                    ready, load, stages = now, event.load_seconds, event.stages
                    sampling = Sampling(temperature=0, max_new_tokens=8)
                    await job.send(Send(run_id="r1", sampling=sampling, prompt=PROMPT))
                case TokensGenerated():
                    return Start(cache, ready, load, now, stages, with_spare)
                case JobFailed():
                    raise RuntimeError(event.what)
    raise RuntimeError("the session ended without a token")


def measure_start(folder: Path, device: str) -> list[Start]:
    """First with an empty kernel cache, then with what that left, and so without a spare."""
    before = os.environ.get(CACHE)
    with tempfile.TemporaryDirectory() as cache:
        os.environ[CACHE] = cache
        try:
            return [asyncio.run(start_once(folder, device, word, with_spare=spare)) for word, spare in STARTS]
        finally:
            del os.environ[CACHE]
            if before is not None:
                os.environ[CACHE] = before


def stage_table(starts: Sequence[Start]) -> str:
    """The parts of each start, in seconds, one beside the other."""
    names = list(dict.fromkeys(name for start in starts for name in start.parts))
    rows = [(name, *(_seconds(start.parts.get(name)) for start in starts)) for name in names]
    rows.append(("first token", *(_seconds(start.first_token) for start in starts)))
    return table(("seconds", *(start.name for start in starts)), rows)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_folder(parser)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    make_folder(asked)
    starts = measure_start(asked.folder, asked.device)
    for start in starts:
        print(
            f"{start.name}: ready after {start.ready:.1f} s (loading {start.load:.1f} s), "
            f"first token after {start.first_token:.1f} s"
        )
    print(stage_table(starts))


if __name__ == "__main__":
    main()
