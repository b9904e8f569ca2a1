"""The models that can be picked: built in, in folders, in the hub cache; and finding one by its name."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fqconsole import paths
from fqconsole.errors import UsageError
from fqconsole.models.describe import describe_folder, require_path
from fqconsole.models.description import ModelDescription, ModelEntry
from fqconsole.models.errors import shown
from fqconsole.models.hub_cache import cached_models, folder_problem

if TYPE_CHECKING:
    from fqconsole.demo import BuiltinModel

MAX_FOLDERS = 500  # looked into below one named folder
NEAREST = 3


def list_models(folders: Sequence[Path] = (), *, include_cache: bool = True) -> list[ModelEntry]:
    """Built-in models first, then those in `folders` and the checkpoints folder, then the Hugging Face cache.

    A folder is a model itself, or holds models one level down (two, for org/name). Cheap: names, indexes.
    """
    entries = _builtin_entries()
    places = dict.fromkeys(
        [
            *(folder.expanduser().absolute() for folder in (*folders, *paths.model_folders())),
            paths.checkpoints_dir(),
        ]
    )
    seen: set[str] = set()
    for place in places:
        for entry in _folder_entries(place):
            if entry.id not in seen:
                seen.add(entry.id)
                entries.append(entry)
    if include_cache:
        entries.extend(cached_models())
    return entries


def resolve_model(ref: str) -> ModelEntry:
    """The model that `ref` names: a built-in id, a folder, the name of a checkpoint or of a model in the
    operator's folders, or a cached hub id.

    Raises UsageError naming the nearest ids, or saying that a hub id is not on this machine.
    """
    ref = ref.strip()
    builtin = _builtin_entries()
    for entry in builtin:
        if entry.id == ref:
            return _materialized(entry)
    folder = _folder(ref)
    if folder is not None:
        return folder_entry(folder)
    if ref and ".." not in Path(ref).parts:
        for place in (paths.checkpoints_dir(), *paths.model_folders()):
            if _is_model(place / ref):
                return folder_entry(place / ref)
    cached = cached_models()
    for entry in cached:
        if entry.id == ref:
            return entry
    known = [*builtin, *_folder_entries(paths.checkpoints_dir()), *cached]
    raise UsageError(f"There is no model called {shown(ref)!r} on this machine.", _nearest(ref, known))


def describe(entry: ModelEntry) -> ModelDescription:
    """What config.json and the safetensors headers tell. Raises ModelError: missing, damaged, or they lie."""
    prompt = None
    if entry.source == "builtin":
        prompt = next((model.suggested_prompt for model in _builtins() if model.id == entry.id), None)
        entry = _materialized(entry)
    return describe_folder(
        require_path(entry),
        id=entry.id,
        source=entry.source,
        revision=entry.revision,
        suggested_prompt=prompt,
    )


def folder_entry(folder: Path) -> ModelEntry:
    """The entry of one folder, with what is wrong with it."""
    return ModelEntry(id=str(folder), source="folder", path=str(folder), problem=folder_problem(folder))


def _builtin_entries() -> list[ModelEntry]:
    return [ModelEntry(id=model.id, source="builtin", path=None) for model in _builtins()]


def _builtins() -> "Sequence[BuiltinModel]":
    from fqconsole.demo import builtin_models

    return builtin_models()


def _materialized(entry: ModelEntry) -> ModelEntry:
    from fqconsole.demo import materialize

    return ModelEntry(id=entry.id, source="builtin", path=str(materialize(entry.id)), revision=entry.revision)


def _folder(ref: str) -> Path | None:
    """The folder that a path names; for a file in a model's folder, that folder."""
    try:
        named = Path(ref).expanduser()
        if ref and named.is_file() and named.name.endswith((".safetensors", ".json")):
            named = named.parent
        return named.absolute() if ref and named.is_dir() else None
    except (OSError, RuntimeError):  # a name too long for any file, a home that does not exist
        return None


def _is_model(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file()
    except OSError:  # no right to look
        return False


def _folder_entries(place: Path) -> list[ModelEntry]:
    if _is_model(place):
        return [folder_entry(place)]
    found: list[ModelEntry] = []
    for below in _folders_in(place):
        if _is_model(below):
            found.append(folder_entry(below))
        else:
            found.extend(folder_entry(deeper) for deeper in _folders_in(below) if _is_model(deeper))
    return found


def _folders_in(place: Path) -> list[Path]:
    try:
        below = [entry for entry in place.iterdir() if entry.is_dir() and not _passing(entry.name)]
    except OSError:
        return []
    return sorted(below)[:MAX_FOLDERS]


def _passing(name: str) -> bool:
    """Hidden folders, and checkpoints that are still being written."""
    return name.startswith(".") or ".partial-" in name


def _nearest(ref: str, known: Sequence[ModelEntry]) -> str:
    short = {entry.id: entry.id for entry in known}
    for entry in known:  # people type the last part of a name
        short.setdefault(entry.id.rsplit("/", 1)[-1], entry.id)
    lowered = {name.lower(): full for name, full in short.items()}
    close = difflib.get_close_matches(ref.lower(), lowered, n=NEAREST * 2, cutoff=0.5)
    ids = list(dict.fromkeys(lowered[name] for name in close))[:NEAREST]
    parts = []
    if ids:
        parts.append(f"Did you mean {' or '.join(ids)}?")
    if ref.count("/") == 1 and not ref.startswith((".", "/", "~")):
        parts.append("A hub id has to be downloaded first.")
    parts.append("`fqconsole models` lists what is here.")
    return " ".join(parts)
