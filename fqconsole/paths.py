"""Where fqconsole keeps its files: one function a place, all under FQCONSOLE_HOME when that is set."""

import os
from pathlib import Path

import platformdirs


def _place(kind: str) -> Path:
    home = os.environ.get("FQCONSOLE_HOME")
    if home:
        return Path(home).expanduser() / kind
    finder = getattr(platformdirs, f"user_{kind}_path")
    found: Path = finder("fqconsole", appauthor=False)
    return found


def config_file() -> Path:
    """The operator's settings, `config.toml`."""
    return _place("config") / "config.toml"


def store_file() -> Path:
    """The SQLite file that holds every run."""
    return _place("data") / "runs.db"


def checkpoints_dir() -> Path:
    """Where quantized checkpoints go when no folder is named."""
    return _place("data") / "checkpoints"


def log_dir() -> Path:
    """Log files of the console and of each worker."""
    return _place("state") / "log"


def cache_dir() -> Path:
    """What can be made again: derived built-in models, kernel choices."""
    return _place("cache")
