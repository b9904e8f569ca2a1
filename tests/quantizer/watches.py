"""Watches for tests: one that remembers what it is told, one that ends the job at a chosen step."""

from quantizer.watch import Cancelled, LogLevel, MatrixResult, SilentWatch


class RecordingWatch(SilentWatch):
    """Remembers every call."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[tuple[str, float, str]] = []
        self.done: list[float] = []
        self.results: list[MatrixResult] = []
        self.logs: list[tuple[LogLevel, str]] = []

    def phase(self, name: str, total: float, unit: str, *, done: float = 0.0) -> None:
        self.phases.append((name, total, unit))

    def progress(
        self,
        done: float,
        *,
        note: str = "",
        device_bytes: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        self.done.append(done)

    def matrix(self, result: MatrixResult) -> None:
        self.results.append(result)

    def log(self, level: LogLevel, text: str) -> None:
        self.logs.append((level, text))


class CancellingWatch(RecordingWatch):
    """Cancels at the checkpoint after `matrices` matrices."""

    def __init__(self, matrices: int) -> None:
        super().__init__()
        self._matrices = matrices

    def checkpoint(self) -> None:
        if len(self.results) >= self._matrices:
            raise Cancelled
