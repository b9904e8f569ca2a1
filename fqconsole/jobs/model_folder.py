"""A look at a model's folder before anything is loaded: what is wrong with it is a sentence at once."""

from pathlib import Path

from fqconsole.models import ModelDescription, ModelEntry, describe


def look_at(folder: Path, model_id: str = "") -> ModelDescription:
    """The model in `folder`, called `model_id`; in the hub cache the folder is named by the revision.

    Raises ModelError for what is missing, damaged or of a kind not supported.
    """
    name = model_id or str(folder)
    if folder.parent.name == "snapshots":
        return describe(ModelEntry(id=name, source="cache", path=str(folder), revision=folder.name))
    return describe(ModelEntry(id=name, source="folder", path=str(folder)))
