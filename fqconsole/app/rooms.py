"""The doors to the other rooms: each function imports its room when called, never before the first paint."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fqconsole import paths
from fqconsole.app.services import EventRecorder, GpuSource, HostMemory, RunningJob
from fqconsole.app.workspace import FitChoice
from fqconsole.models.description import ModelDescription, ModelEntry


def list_models() -> list[ModelEntry]:
    from fqconsole.models import list_models as find

    return find()


def describe(entry: ModelEntry) -> ModelDescription:
    from fqconsole.models import describe as read

    return read(entry)


def describe_hub(model_id: str) -> ModelDescription:
    from fqconsole.models import describe_hub as read

    return read(model_id)


def summaries() -> Mapping[str, str]:
    from fqconsole.demo import builtin_models

    return {model.id: model.summary for model in builtin_models()}


def preview(description: ModelDescription, capacity: Any, **choice: Any) -> Any:
    from fqconsole.fit import preview as compute

    return compute(description, capacity, **choice)


def capacity_here(snapshots: tuple[Any, ...]) -> Any:
    from fqconsole.fit.capacity import capacity_here as measure
    from fqconsole.fit.history import learned
    from fqconsole.fit.probe import probed

    found = probed(measure(snapshots))
    try:
        with open_store() as store:
            return learned(found, store.memory_history())
    except Exception:  # noqa: BLE001 - a preview needs no record
        return found


def named_capacities() -> Mapping[str, Any]:
    from fqconsole.fit.capacity import CATALOGUE, named_gpu

    return {name: named_gpu(name) for name in CATALOGUE}


def base_plan(description: ModelDescription, **choice: Any) -> Any:
    from quantizer import base_plan as compute

    return compute(description, **choice)


class Planners:
    """The planner of a model for a mode, a head, sets of experts and widths, kept for the next target; None
    where nothing was measured yet.
    """

    def __init__(self) -> None:
        self._kept: tuple[Any, Any] | None = None

    def __call__(self, description: ModelDescription, choice: FitChoice) -> Any:
        from quantizer.measured import load_measured, measured_path
        from quantizer.methods import methods_of
        from quantizer.planner import Planner

        path = measured_path(Path(str(description.path)), description, methods_of(choice.mode))
        asked = (path, choice.head, choice.experts, choice.widths)
        if self._kept is not None and self._kept[0] == asked:
            return self._kept[1]
        known = load_measured(path)
        if known is None:
            return None
        planner = Planner(description, known, head=choice.head, experts=choice.experts, widths=choice.widths)
        self._kept = (asked, planner)
        return planner


def plan_memory(description: ModelDescription, found: Any, gpus: int, planner: Any) -> Any:
    from fqconsole.fit.plan_memory import PlanMemory
    from quantizer.measured import KEPT

    whole = sum(planner.matrix_bytes(matrix, KEPT) for matrix in planner.draft.matrices)
    return PlanMemory(description, found, gpus, whole, planner.draft.head)


def first_guess(size: int, mode: str, planned: bool) -> float:
    """Seconds of the first job in a mode: what two CPU cores took."""
    from fqconsole.app import job_pace
    from fqconsole.jobs.ahead import first_prices

    return job_pace.first_guess(size, mode, first_prices(mode), planned=planned)


def save_plan(plan: Any) -> Path:
    from quantizer.measured import save_plan as keep

    return keep(plan)


def keep_probe(probe: Any) -> None:
    from fqconsole.fit.probe import keep_probe as keep

    keep(probe)


def open_config(word: str) -> tuple[Any, ModelDescription | None]:
    from fqconsole.models.bare_config import cached_shapes, describe_bare, read_bare

    config = read_bare(Path(word).expanduser())
    shapes = cached_shapes(config)
    return config, None if shapes is None else describe_bare(config, shapes)


def describe_config(config: Any, shapes: Any) -> ModelDescription:
    from fqconsole.models.bare_config import describe_bare, keep_shapes

    keep_shapes(config, shapes)
    return describe_bare(config, shapes)


def download_folder() -> Path:
    from fqconsole.models.hub_cache import cache_folder

    return cache_folder()


def find_model(word: str) -> ModelEntry:
    from fqconsole.models import resolve_model

    return resolve_model(word)


def open_gpus() -> GpuSource:
    from fqconsole.gpus import open_gpus as connect

    return connect()


def host_memory() -> HostMemory:
    import psutil

    reading = psutil.virtual_memory()
    return HostMemory(reading.total - reading.available, reading.total, psutil.cpu_percent(None))


def disk_free(folder: Path) -> int:
    """Free bytes where `folder` is, or will be."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def open_store() -> Any:
    from store import Store

    paths.store_file().parent.mkdir(parents=True, exist_ok=True)
    return Store.open(paths.store_file())


def sweep(store: Any) -> list[str]:
    from fqconsole.jobs import sweep_interrupted

    return sweep_interrupted(store)


def make_recorder(store: Any) -> EventRecorder:
    from fqconsole.jobs import Recorder

    return Recorder(store)


async def start_job(request: Any, spare: Any = None) -> RunningJob:
    from fqconsole.jobs import Job

    return await Job.start(request, log_dir=paths.log_dir(), spare=spare)


async def start_spare() -> Any:
    from fqconsole.jobs.spare import SpareWorker

    return await SpareWorker.start(log_dir=paths.log_dir())


def available_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def suggest_checkpoint_path(model_id: str, bits: int, granularity: Any, group_size: Any, head: int) -> Path:
    from fqconsole.jobs import suggest_checkpoint_path as suggest

    return suggest(model_id, bits, granularity, group_size, head)


class Beginnings:
    """`fqconsole.jobs.runs`, found when one of its functions is first asked for."""

    def __getattr__(self, name: str) -> Any:
        from fqconsole.jobs import runs

        return getattr(runs, name)
