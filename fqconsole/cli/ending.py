"""How a command ends early: by a signal, with 128 + its number as exit code."""

import signal
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndedBySignal(BaseException):
    """One of ENDING arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        return 128 + self.number


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise EndedBySignal(number)


def heeded() -> list[signal.Signals]:
    """The ending signals to listen to: what was ignored at the start (nohup, `&` in a script) stays so."""
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


def listen() -> None:
    """Turn each heeded signal into EndedBySignal, raised in the main thread."""
    for number in heeded():
        signal.signal(number, _end)
