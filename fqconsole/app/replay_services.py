"""The console's services while a recording plays: recorded jobs for workers, a store of its own, no GPU."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fqconsole.app.services import Services, real_services
from fqconsole.jobs.recording import RecordedJob

NO_GPU = "a recording plays: no GPU and no worker is used, and nothing is kept"


@dataclass(frozen=True)
class NoGpus:
    """A recording holds no readings of GPUs, and this machine's own would mislead."""

    available: bool = False
    problem: str = NO_GPU

    def sample(self) -> tuple[Any, ...]:
        return ()


def replay_services(jobs: tuple[RecordedJob, ...], speed: float, folder: Path) -> Services:
    """`folder` takes the runs of the recording and is thrown away afterwards."""
    from fqconsole.jobs.replay import ReplayedWorkers
    from store import Store

    clock = quick_clock(speed)
    return replace(
        real_services(),
        start_job=ReplayedWorkers(jobs, speed=speed, clock=clock).start,
        open_store=lambda: Store.open(folder / "runs.db"),
        sweep=lambda _store: [],
        open_gpus=NoGpus,
        gpu_interval=0.0,
        clock=clock,
    )


def quick_clock(speed: float, now: Callable[[], float] = time.time) -> Callable[[], float]:
    """A clock that goes `speed` times as fast from now on, so that durations are the recorded ones."""
    start = now()
    return lambda: start + (now() - start) * speed
