"""The failures an operator can act on: one sentence of what is wrong and where, one of what to do next."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    MALFORMED: tuple[type[Exception], type[ValueError], type[RecursionError]]


def __getattr__(name: str) -> tuple[type[Exception], ...]:
    """MALFORMED: what reading JSON or TOML from outside may raise, looked up when a reader asks for it.

    Not only "malformed", but letters that are no UTF-8, numbers of more digits than Python reads, and
    brackets nested deeper than its stack. The command line's --help loads no JSON library for it.
    """
    if name != "MALFORMED":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import msgspec

    return (msgspec.MsgspecError, ValueError, RecursionError)


class OperatorError(Exception):
    """A failure with a clear sentence and, where there is one, the next step.

    `what` names the thing and the place; `next_step` is an imperative sentence. `exit_code` is what the
    command line ends with: 1 the job failed, 2 usage or bad input named on the command line, 3 predicted not
    to fit, 4 out of memory or the device was lost. `code` is the machine-readable word for events and rows.
    """

    exit_code = 1
    code = "failed"

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what} {self.next_step}".strip()


class UsageError(OperatorError):
    """The request itself can't be carried out as it was written."""

    exit_code = 2
    code = "usage"


class DoesNotFitError(OperatorError):
    """The memory preview says that what was asked for does not fit."""

    exit_code = 3
    code = "does_not_fit"


class DeviceError(OperatorError):
    """The device ran out of memory or was lost."""

    exit_code = 4
    code = "device"
