"""Where fqconsole keeps its files: one function a place."""

from pathlib import Path

from fqconsole.home import config_file, may_be_set, place

__all__ = [
    "cache_dir",
    "checkpoints_dir",
    "config_file",
    "log_dir",
    "model_folders",
    "store_file",
]


def store_file() -> Path:
    """The SQLite file that holds every run: the setting `runs.store`, else one in the data folder.

    Raises UsageError for settings that can't be read.
    """
    from fqconsole.settings import load

    chosen = load().runs.store if may_be_set() else ""
    return Path(chosen).expanduser() if chosen else place("data") / "runs.db"


def model_folders() -> tuple[Path, ...]:
    """Folders of the operator's own models: the setting `models.folders`. Raises UsageError as above."""
    from fqconsole.settings import load

    return tuple(Path(folder).expanduser() for folder in load().models.folders) if may_be_set() else ()


def checkpoints_dir() -> Path:
    """Where quantized checkpoints go when no folder is named."""
    return place("data") / "checkpoints"


def log_dir() -> Path:
    """Log files of the console and of each worker."""
    return place("state") / "log"


def cache_dir() -> Path:
    """What can be made again: derived built-in models, kernel choices."""
    return place("cache")
