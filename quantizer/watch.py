"""How a long job tells what it does and hears that it should hold or end: one protocol for all jobs."""

import threading
from typing import Literal, Protocol

import msgspec

from quantizer.plan import MatrixPlan

LogLevel = Literal["info", "warning", "error"]


class Cancelled(Exception):  # noqa: N818 -- ending a job on request is no error
    """Raised by `Watch.checkpoint` when the operator has asked the job to end."""


class MatrixResult(msgspec.Struct, frozen=True):
    """One matrix (or one layer's stack of experts) is quantized."""

    index: int  # 0-based, in the order of completion
    count: int
    matrix: MatrixPlan
    relative_error: float  # ‖W−Ŵ‖/‖W‖
    seconds: float


class Watch(Protocol):
    """What a job calls while it works; every call is cheap and may come from the job's thread only."""

    def phase(self, name: str, total: float, unit: str, *, done: float = 0.0) -> None:
        """A phase begins: "hash", "analyse", "quantize"; `total` of `unit` are to be done (0 = unknown), of
        which an earlier run did `done`.
        """

    def progress(
        self,
        done: float,
        *,
        note: str = "",
        device_bytes: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """`done` units of the present phase are finished; called often, the receiver thins it out.

        `seconds_left` is the job's own forecast, where the units are not all alike.
        """

    def matrix(self, result: MatrixResult) -> None:
        """A matrix is finished."""

    def log(self, level: LogLevel, text: str) -> None:
        """A sentence for the operator."""

    def checkpoint(self) -> None:
        """Called between two steps that can be told apart: blocks while paused, raises `Cancelled`."""


class Gate:
    """Pause, resume and cancel from another thread; a watch hands its `checkpoint` on to one of these."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._cancelled = False

    @property
    def paused(self) -> bool:
        return not self._open.is_set()

    def pause(self) -> None:
        """Hold at the next checkpoint."""
        if not self._cancelled:
            self._open.clear()

    def resume(self) -> None:
        """Go on."""
        self._open.set()

    def cancel(self) -> None:
        """End at the next checkpoint, paused or not."""
        self._cancelled = True
        self._open.set()

    def checkpoint(self) -> None:
        """Blocks while paused; raises `Cancelled` once cancelled."""
        self._open.wait()
        if self._cancelled:
            raise Cancelled


class SilentWatch:
    """A watch for library use: says nothing, and ends only through its gate when it is given one."""

    def __init__(self, gate: Gate | None = None) -> None:
        self._gate = gate

    def phase(self, name: str, total: float, unit: str, *, done: float = 0.0) -> None:
        pass

    def progress(
        self,
        done: float,
        *,
        note: str = "",
        device_bytes: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        pass

    def matrix(self, result: MatrixResult) -> None:
        pass

    def log(self, level: LogLevel, text: str) -> None:
        pass

    def checkpoint(self) -> None:
        if self._gate is not None:
            self._gate.checkpoint()
