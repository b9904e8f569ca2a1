"""The Textual console: screens and widgets over jobs, store and preview; it never touches torch."""

from pathlib import Path


def run_console(events: Path | None = None) -> int:
    """Open the console in this terminal and return the exit code of the process.

    Textual is imported here and not with the package, so that the plain command line starts fast. With
    `events`, everything the jobs say is also recorded in this file.
    """
    from fqconsole.app.opening import run_console as run

    return run(events)


__all__ = ["run_console"]
