"""The last readings of every GPU: what the strip at the bottom and the GPUs screen draw."""

from collections import deque
from typing import Any

from fqconsole.app.services import GpuSource, HostMemory

KEPT = 240  # readings: two minutes at 2 Hz


class GpuHistory:
    """Owned by the console, which adds a reading twice a second from a thread worker's message."""

    def __init__(self) -> None:
        self.source: GpuSource | None = None
        self.problem = ""
        self.host: HostMemory | None = None
        self.readings: deque[tuple[Any, ...]] = deque(maxlen=KEPT)

    @property
    def latest(self) -> tuple[Any, ...]:
        """GpuSnapshot of every GPU; empty when there is none, or none has been read yet."""
        return self.readings[-1] if self.readings else ()

    def series(self, index: int, reading: str) -> list[float | None]:
        """One reading of one GPU over time, oldest first; None where it was not available."""
        values: list[float | None] = []
        for snapshots in self.readings:
            snapshot = next((item for item in snapshots if item.index == index), None)
            values.append(None if snapshot is None else getattr(snapshot, reading))
        return values
