"""Settings on one command line: flags that change them, and the defaults of options that they change."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fqconsole.errors import UsageError
from fqconsole.home import FLAGS, may_be_set


def keep(flags: Mapping[str, str], more: Sequence[str]) -> None:
    """Flags become part of the environment, so that a process started from here sees them too.

    `flags` maps names of settings to text, empty where the flag was not given; `more` holds NAME=VALUE.
    Raises UsageError for one without =.
    """
    given = {name: value for name, value in flags.items() if value}
    for item in more:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item} has no =.", "Write --set NAME=VALUE.")
        given[name] = value
    for name, value in given.items():
        from fqconsole.settings import with_flag

        os.environ[FLAGS] = with_flag(os.environ.get(FLAGS), name, value)


@contextmanager
def environment_kept() -> Iterator[None]:
    """Flags of one command line end with it: a program may call `main` more than once."""
    before = os.environ.get(FLAGS)
    try:
        yield
    finally:
        os.environ.pop(FLAGS, None)
        if before is not None:
            os.environ[FLAGS] = before


def defaults_of_commands() -> dict[str, Any]:
    """What the operator's settings make the defaults of options, by command; empty where nothing is set.

    Raises UsageError for settings that can't be read.
    """
    if not may_be_set():
        return {}
    from fqconsole.settings import explained

    changed = {row.name: row.value for row in explained() if row.source != "default"}

    def of(section: str) -> dict[str, Any]:
        start = f"{section}."
        return {name.removeprefix(start): value for name, value in changed.items() if name.startswith(start)}

    mode = {"mode": changed["quantize.mode"]} if "quantize.mode" in changed else {}
    return {"generate": of("session"), "quantize": mode, "plan": mode, "runs": {"prune": of("runs")}}
