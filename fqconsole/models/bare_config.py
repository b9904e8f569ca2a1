"""A model that lies nowhere: described by its config.json alone, with the shapes that its class gives it.

The shapes come from a worker (`fqconsole.jobs.tasks.describe`), which builds the class without weights; they
are cached by the config's content and the version of transformers.
"""

import contextlib
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from fqconsole import paths
from fqconsole.errors import MALFORMED
from fqconsole.models.config import Config, read_config
from fqconsole.models.describe import build
from fqconsole.models.description import ModelDescription, ModelEntry, TensorInfo
from fqconsole.models.errors import ModelError


class ClassShapes(msgspec.Struct, frozen=True):
    """What the model class makes of a config: every field filled in, and every tensor it would hold."""

    config: dict[str, Any]
    tensors: tuple[TensorInfo, ...]


def read_bare(path: Path) -> Config:
    """The config at `path`, whatever its name. Raises ModelError: missing, too large, no JSON object, no
    model_type.
    """
    config = read_config(path)
    if not isinstance(config.outer.get("model_type"), str):
        config.refuse("the field model_type is missing", 'Add it: "model_type": "llama", say.')
    return config


def describe_bare(config: Config, shapes: ClassShapes) -> ModelDescription:
    """The description of a model that was never downloaded. Raises ModelError naming a field."""
    full = Config(shapes.config, config.place)
    path = Path(config.place)
    name = path.parent.name if path.name == "config.json" and path.parent.name else path.stem
    found = build(
        full,
        shapes.tensors,
        entry=ModelEntry(id=name, source="config", path=None),
        manifest=None,
        license=None,
    )
    note = "Shapes come from the model class that transformers has for this config; nothing was downloaded."
    return msgspec.structs.replace(found, notes=(*found.notes, note))


def cached_shapes(config: Config) -> ClassShapes | None:
    """What an earlier worker found for the same config, if it can be read."""
    try:
        return msgspec.json.decode(_place(config).read_bytes(), type=ClassShapes)
    except (OSError, *MALFORMED):
        return None


def keep_shapes(config: Config, shapes: ClassShapes) -> None:
    """Cache `shapes`; a cache that can't be written is no failure."""
    place = _place(config)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_suffix(".partial")
        unfinished.write_bytes(msgspec.json.encode(shapes))
        unfinished.replace(place)


def _place(config: Config) -> Path:
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        raise ModelError("transformers is not installed.", "Install fqconsole again.") from None
    said = msgspec.json.encode([version, config.outer], order="sorted")
    return paths.cache_dir() / "configs" / f"{hashlib.sha256(said).hexdigest()[:32]}.json"
