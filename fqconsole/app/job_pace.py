"""How long quantizing took on this machine, and so how long the next job takes; before the first, a guess."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fqconsole.app import formatting
from fqconsole.app.quantize_progress import PHASES
from quantizer.methods import methods_of

MOST = 12
START_SECONDS = 2.0  # until a worker has loaded what it computes with
FARTHEST = 64.0  # a run of another size by more than this factor tells nothing


@dataclass(frozen=True)
class Pace:
    """One finished quantize run."""

    run_id: str
    mode: str
    source_bytes: int
    seconds: float


def paces(store: Any) -> list[Pace]:
    """The latest finished quantize runs, newest first."""
    found = []
    for row in store.list_runs("kind:quantize status:done", limit=MOST):
        run = store.run(row.run_id)
        size, seconds = run.metric("source_bytes"), row.seconds
        if size and seconds:
            found.append(Pace(row.run_id, run.options.get("mode", ""), int(size), seconds))
    return found


def nearest(known: Sequence[Pace], mode: str, size: int) -> Pace | None:
    """The run in this mode whose model was most nearly as large; None where none is near."""
    alike = [
        pace for pace in known if pace.mode == mode and 1 / FARTHEST <= size / pace.source_bytes <= FARTHEST
    ]
    return min(alike, key=lambda pace: abs(math.log(size / pace.source_bytes)), default=None)


def first_guess(size: int, mode: str, prices: Mapping[str, float], *, planned: bool) -> float:
    """Seconds of a job, for a model of `size` bytes; a planned one only writes. `prices` are seconds a byte,
    by phase.
    """
    writing = prices["quantize"] * size
    if planned:
        return START_SECONDS + writing
    reading = prices["analyse"] * size
    balancing = writing * PHASES["balance"] / PHASES["quantize"] if methods_of(mode).balance else 0.0
    return START_SECONDS + balancing + reading + writing


def time_line(known: Sequence[Pace], mode: str, size: int, guess: float) -> str:
    """`~00:12  as r0004 took here, by bytes`; where no run tells, what was guessed, and that it was."""
    pace = nearest(known, mode, size)
    if pace is None:
        words = f"a guess (two CPU cores): no such run in mode {mode} yet"
        return f"{'~' + formatting.took(guess):>9}  {words}"
    # Starting the worker takes as long for a small model: less than the run took is not promised.
    seconds = pace.seconds * max(1.0, size / pace.source_bytes)
    return f"{'~' + formatting.took(seconds):>9}  as {pace.run_id} took here, mode {mode}"
