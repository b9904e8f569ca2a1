"""Everything the screens ask of the rooms below, as one frozen object: tests and pictures use stand-ins."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fqconsole import paths
from fqconsole.app.model_parts import ModelParts, PartsOf
from fqconsole.app.remembered import Remembered
from fqconsole.app.unfinished import Unfinished, unfinished_runs
from fqconsole.app.workspace import FitChoice
from fqconsole.jobs.messages import AnyEvent, Request
from fqconsole.models.description import ModelDescription, ModelEntry


class RunningJob(Protocol):
    """The console's side of a worker process; `fqconsole.jobs.Job` is the real one."""

    def events(self) -> AsyncIterator[AnyEvent]:
        """Every event in order; ends when the worker has ended."""

    async def send(self, request: Request) -> None: ...

    async def cancel(self) -> None: ...

    async def wait(self) -> int: ...


class EventRecorder(Protocol):
    """Turns events into rows of the store; `fqconsole.jobs.Recorder` is the real one."""

    def feed(self, event: AnyEvent) -> Any: ...

    def feed_gpus(self, run_id: str, snapshots: tuple[Any, ...]) -> Any: ...


class GpuSource(Protocol):
    """Where GPU readings come from; `fqconsole.gpus.GpuWatcher` is the real one."""

    @property
    def available(self) -> bool: ...

    @property
    def problem(self) -> str: ...

    def sample(self) -> tuple[Any, ...]: ...


class Spare(Protocol):
    """A worker that is made ready for the next session; `fqconsole.app.spare_session` has the real one."""

    def keep(self) -> None:
        """Have one soon, from now on; returns at once, and nothing of it ever fails here."""

    async def close(self) -> None:
        """End it, and make no other."""


class NoSpare:
    """For a console whose sessions begin from nothing."""

    def keep(self) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class HostMemory:
    """Memory of this machine, bytes, and how busy its processors were since the last reading, percent."""

    used: int
    total: int
    cpu: float | None = None


@dataclass(frozen=True)
class Services:
    """Callables only; each may block, so screens call them from thread workers (or the store's thread).

    `start_job` runs on the event loop. `gpu_interval` is seconds between GPU readings; 0 reads once.
    """

    list_models: Callable[[], list[ModelEntry]]
    describe: Callable[[ModelEntry], ModelDescription]
    describe_hub: Callable[[str], ModelDescription]
    summaries: Callable[[], Mapping[str, str]]  # of the built-in models; at once
    preview: Callable[..., Any]
    capacity_here: Callable[[tuple[Any, ...]], Any]
    named_capacities: Callable[[], Mapping[str, Any]]
    base_plan: Callable[..., Any]
    open_gpus: Callable[[], GpuSource]
    host_memory: Callable[[], HostMemory]
    disk_free: Callable[[Path], int]
    open_store: Callable[[], Any]
    sweep: Callable[[Any], Any]  # marks runs of consoles that died as interrupted
    make_recorder: Callable[[Any], EventRecorder]
    start_job: Callable[[Request], Awaitable[RunningJob]]
    begin: (
        Any  # the module fqconsole.jobs.runs: begin_quantize, begin_generate, begin_evaluate, begin_download
    )
    suggest_checkpoint_path: Callable[..., Path]
    parts: Callable[[ModelDescription], ModelParts]
    planner: Callable[[ModelDescription, FitChoice], Any]  # None: the model was not measured yet in this mode
    plan_memory: Callable[..., Any]  # fit.plan_memory.PlanMemory
    first_guess: Callable[
        [int, str, bool], float
    ]  # seconds of a job: bytes of the model, mode, planned or not
    save_plan: Callable[[Any], Path]
    unfinished: Callable[[Any], list[Unfinished]]  # quantize runs to go on with, in the store's thread
    keep_probe: Callable[[Any], None]
    open_config: Callable[[str], tuple[Any, ModelDescription | None]]  # None: a worker must make its shapes
    describe_config: Callable[[Any, Any], ModelDescription]  # with the shapes that a worker made
    find_model: Callable[[str], ModelEntry]  # a folder that was typed
    download_folder: Callable[[], Path]  # where downloads go
    remembered: Remembered
    spare: Spare = field(default_factory=NoSpare)  # what `start_job` may take the worker of a session from
    clock: Callable[[], float] = time.time
    gpu_interval: float = 0.5
    version: str = ""


def real_services() -> Services:
    """The rooms of this installation; each is imported when first asked: the first paint waits for none."""
    from fqconsole import __version__
    from fqconsole.app import rooms

    return Services(
        list_models=rooms.list_models,
        describe=rooms.describe,
        describe_hub=rooms.describe_hub,
        summaries=rooms.summaries,
        preview=rooms.preview,
        capacity_here=rooms.capacity_here,
        named_capacities=rooms.named_capacities,
        base_plan=rooms.base_plan,
        open_gpus=rooms.open_gpus,
        host_memory=rooms.host_memory,
        disk_free=rooms.disk_free,
        open_store=rooms.open_store,
        sweep=rooms.sweep,
        make_recorder=rooms.make_recorder,
        start_job=rooms.start_job,
        begin=rooms.Beginnings(),
        suggest_checkpoint_path=rooms.suggest_checkpoint_path,
        parts=PartsOf(),
        planner=rooms.Planners(),
        plan_memory=rooms.plan_memory,
        first_guess=rooms.first_guess,
        save_plan=rooms.save_plan,
        unfinished=unfinished_runs,
        keep_probe=rooms.keep_probe,
        open_config=rooms.open_config,
        describe_config=rooms.describe_config,
        find_model=rooms.find_model,
        download_folder=rooms.download_folder,
        remembered=Remembered(paths.log_dir().parent / "console.json"),
        version=__version__,
    )
