"""Models as rows: described, with what fits and what a download would cost. Everything here may block."""

from typing import Any

from fqconsole.app.model_rows import ModelRow
from fqconsole.app.services import Services
from fqconsole.app.store_thread import sentence
from fqconsole.app.verdicts import best_fit
from fqconsole.models.description import ModelDescription, ModelEntry


def described(
    services: Services, entry: ModelEntry, capacity: Any, about: ModelDescription | None = None
) -> ModelRow:
    """The row of a model; whatever goes wrong with it becomes its problem, so that it hides no other."""
    try:
        found = about or services.describe(entry)
        best = None if found.quantization else best_fit(services.preview(found, capacity, gpu_counts=(1,)))
        free = services.disk_free(services.download_folder()) if found.source == "hub" else None
    except Exception as error:  # noqa: BLE001 - one bad folder must not hide the other models
        return ModelRow(entry, problem=sentence(error))
    return ModelRow(entry, found, best, disk_free=free)


def looked_up(services: Services, model_id: str, readings: tuple[Any, ...]) -> ModelRow:
    """A model on the hub, from its headers alone; offline is a normal state with a sentence of its own."""
    entry = ModelEntry(model_id, "hub", None)
    try:
        about = services.describe_hub(model_id)
    except Exception as error:  # noqa: BLE001 - as above
        return ModelRow(entry, problem=sentence(error))
    return described(services, entry, services.capacity_here(readings), about)


def opened(services: Services, folder: str, readings: tuple[Any, ...]) -> ModelRow:
    """The model in a folder that was typed."""
    try:
        entry = services.find_model(folder)
    except Exception as error:  # noqa: BLE001 - as above
        return ModelRow(ModelEntry(folder, "folder", folder), problem=sentence(error))
    if entry.problem:
        return ModelRow(entry, problem=entry.problem)
    return described(services, entry, services.capacity_here(readings))


def from_config(services: Services, about: ModelDescription, readings: tuple[Any, ...]) -> ModelRow:
    """A model of which there is only a config."""
    entry = ModelEntry(about.id, "config", None)
    return described(services, entry, services.capacity_here(readings), about)
