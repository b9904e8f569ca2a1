"""The command line: one file a verb; parses, calls, prints."""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` when `arguments` is None) and return its exit code."""
    from fqconsole.cli.application import run

    return run(arguments)
