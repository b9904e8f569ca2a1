"""Compiling ahead: everything is called once, in several processes, before anything is timed.

What Triton and the peers compile lies in their caches on disk afterwards, and the run itself only loads it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.kernels.points import Record, Roof
from benchmarks.kernels.run import Choice, attempt, open_peers, own_steps, peer_steps, say
from benchmarks.kernels.timing import Budget
from benchmarks.kernels.work import Work

# What compiles; one process each time, so that no two wait for the same.
COMPILING = ("ours", "schemes", "peers", "experts", "accuracy", "other peers", "rest")
PART_OF_TIME = 0.4
MOST_WORKERS = 10
SPARE_CORES = 4
BUILDS_OF_WORKER = "2"  # compilers that Humming may run beside each other in one process


def usual_workers() -> int:
    """Processes for this machine."""
    return max(0, min(MOST_WORKERS, (os.cpu_count() or 1) - SPARE_CORES))


def once(calls: Sequence[Callable[[], object]]) -> float:
    """A stopwatch that calls and looks away."""
    calls[0]()
    return 1.0


@torch.no_grad()
def compile_share(choice: Choice, share: int, shares: int) -> None:
    """Every `shares`-th step that compiles, from number `share`. Failures show again where they are timed."""
    record = Record({}, Roof((), (), 1.0))
    work = Work(record, Budget(choice.seconds * PART_OF_TIME), choice.rows, time=once)
    peers = open_peers(work, choice.peers, tune=False)
    steps = [*own_steps(work, choice), *peer_steps(work, choice, peers)]
    wanted = [step for step in steps if step[0] in choice.parts and step[0] in COMPILING]
    for part, measure in wanted[share::shares]:
        attempt(work, part, measure)


def compile_ahead(budget: Budget, workers: int, arguments: Sequence[str]) -> None:
    """Start this program with the same arguments so many times and wait for all, but not for ever."""
    say(budget, f"compiling in {workers} processes")
    environment = {"HUMMING_MAX_PARALLEL_BUILD_WORKERS": BUILDS_OF_WORKER} | os.environ
    command = [sys.executable, "-m", "benchmarks.kernels", *arguments]
    running = [
        subprocess.Popen(
            [*command, "--warm", str(share), str(workers)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        for share in range(workers)
    ]
    end = time.monotonic() + budget.seconds * PART_OF_TIME
    for process in running:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
