"""The folders that are fqconsole's by the system's own rules; all under FQCONSOLE_HOME when that is set."""

import os
from pathlib import Path

import platformdirs

FLAGS = (
    "FQCONSOLE_FLAGS"  # how flags reach the processes that a command starts: a JSON object of names to text
)


def place(kind: str) -> Path:
    """The folder for `kind`: "config", "data", "state" or "cache"."""
    home = os.environ.get("FQCONSOLE_HOME")
    if home:
        return Path(home).expanduser() / kind
    finder = getattr(platformdirs, f"user_{kind}_path")
    found: Path = finder("fqconsole", appauthor=False)
    return found


def config_file() -> Path:
    """The operator's settings, `config.toml`."""
    return place("config") / "config.toml"


def may_be_set() -> bool:
    """Whether the operator may have set anything: a look at one file and at the environment, no more."""
    others = any(name.startswith("FQCONSOLE_") and name != "FQCONSOLE_HOME" for name in os.environ)
    return others or config_file().is_file()
