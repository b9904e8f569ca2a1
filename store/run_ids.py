"""Run ids: the row number as people say it, r0042."""

import re

from store.errors import UnknownRunError

_FORM = re.compile(r"r?([0-9]{1,15})", re.IGNORECASE)


def to_word(number: int) -> str:
    """r0042 for 42."""
    return f"r{number:04d}"


def to_number(run_id: str) -> int:
    """42 for "r0042", "r42" and "42". Raises UnknownRunError for anything else."""
    match = _FORM.fullmatch(run_id.strip())
    if match is None:
        raise UnknownRunError(
            f"“{run_id}” is no run id.", "`fqconsole runs list` shows them; one looks like r0042."
        )
    return int(match[1])


def unknown(run_id: str) -> UnknownRunError:
    """The error for a run that is not there."""
    return UnknownRunError(f"There is no run {run_id}.", "`fqconsole runs list` shows the runs there are.")
