"""A job is one worker process and a stream of typed events: the only door to torch from the console.

`Job` starts a worker and hands out its events, `Recorder` turns them into rows, `Replay` reads a recorded
stream back. Names are loaded when first asked for, because the worker imports this package too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fqconsole.jobs.client import Job
    from fqconsole.jobs.recorder import Recorder
    from fqconsole.jobs.replay import Replay
    from fqconsole.jobs.runs import suggest_checkpoint_path, sweep_interrupted

__all__ = ["Job", "Recorder", "Replay", "suggest_checkpoint_path", "sweep_interrupted"]

_HOME = {
    "Job": "client",
    "Recorder": "recorder",
    "Replay": "replay",
    "suggest_checkpoint_path": "runs",
    "sweep_interrupted": "runs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
