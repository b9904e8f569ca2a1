"""The Hugging Face cache on this machine: which models lie in it, and which of them are incomplete."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fqconsole.models.description import ModelEntry
from fqconsole.models.errors import ModelError
from fqconsole.models.weight_files import choose_files, folder_names, no_weights, read_index

PREFIX = "models--"


def cache_folder() -> Path:
    """Where huggingface_hub keeps its cache, by its own variables, read anew at each call."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.path.expandvars(os.environ[name])).expanduser()
    home = os.environ.get("HF_HOME")
    if not home:
        home = str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def cached_models() -> list[ModelEntry]:
    """Every language model in the cache, by id; damaged and incomplete ones carry a problem. Never raises."""
    folder = cache_folder()
    try:
        # huggingface_hub takes a tenth of a second to import: only where there is something to scan.
        if not any(entry.name.startswith(PREFIX) for entry in folder.iterdir()):
            return []
    except OSError:
        return []
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        scan = scan_cache_dir(folder)
    except (CacheNotFound, OSError, ValueError):
        return []
    entries = [found for repo in scan.repos if repo.repo_type == "model" and (found := _entry(repo))]
    known = {entry.id for entry in entries} | {repo.repo_id for repo in scan.repos}
    entries.extend(_damaged(folder, known))
    return sorted(entries, key=lambda entry: entry.id.lower())


def _entry(repo: Any) -> ModelEntry | None:
    """The revision that `main` points to, else the newest; None where the repo holds no language model."""
    revisions = sorted(repo.revisions, key=lambda revision: ("main" in revision.refs, revision.last_modified))
    if not revisions:
        return ModelEntry(
            repo.repo_id, "cache", None, problem=f"The cached copy of {repo.repo_id} holds no files yet."
        )
    revision = revisions[-1]
    folder = Path(revision.snapshot_path)
    names = {file.file_name for file in revision.files}
    if "config.json" not in names and not any(name.endswith(".safetensors") for name in names):
        return None  # a tokenizer, a diffusion pipeline, or a single README
    return ModelEntry(repo.repo_id, "cache", str(folder), revision.commit_hash, folder_problem(folder))


def folder_problem(folder: Path) -> str | None:
    """Why the model in `folder` can't be used, by its file names and index alone; None: nothing seen."""
    try:
        names = folder_names(folder)
        if "config.json" not in names:
            return f"{folder} has no config.json: the copy is incomplete."
        if (
            not any(name.endswith(".safetensors") for name in names)
            and "model.safetensors.index.json" not in names
        ):
            return no_weights(names, str(folder))[0]
        choose_files(names, read_index(folder), str(folder))
    except ModelError as failure:
        return failure.what
    return None


def _damaged(folder: Path, known: Iterable[str]) -> list[ModelEntry]:
    """Model folders that the scan left out because a link or a reference in them is broken."""
    seen = set(known)
    found = []
    for entry in folder.iterdir():
        model_id = entry.name.removeprefix(PREFIX).replace("--", "/")
        if entry.name.startswith(PREFIX) and entry.is_dir() and model_id not in seen:
            problem = f"The cached copy of {model_id} is damaged or its download was interrupted."
            found.append(ModelEntry(model_id, "cache", None, problem=problem))
    return found
