"""The last readings of every GPU: what the strip at the bottom and the GPUs screen draw."""

from collections import deque
from typing import Any

from fqconsole.app.services import GpuSource, HostMemory

KEPT = 240  # readings: two minutes at 2 Hz
EVENTS_KEPT = 200


class GpuHistory:
    """Owned by the console, which adds a reading twice a second."""

    def __init__(self) -> None:
        self.source: GpuSource | None = None
        self.problem = ""
        self.host: HostMemory | None = None
        self.readings: deque[tuple[Any, ...]] = deque(maxlen=KEPT)
        self.events: deque[tuple[float, str]] = deque(maxlen=EVENTS_KEPT)

    @property
    def latest(self) -> tuple[Any, ...]:
        """GpuSnapshot of every GPU; empty when there is none, or none has been read yet."""
        return self.readings[-1] if self.readings else ()

    def take(self, snapshots: tuple[Any, ...], host: HostMemory) -> None:
        """Add a reading, and an event where a GPU began or ceased to be held down or came or went."""
        before = {item.index: item for item in self.latest}
        for item in snapshots:
            self._note_changes(before.pop(item.index, None), item)
        for gone in before.values():
            self.events.append((gone.t, f"GPU {gone.index} is no longer visible"))
        self.host = host
        self.readings.append(snapshots)

    def _note_changes(self, before: Any, now: Any) -> None:
        was = set(before.throttle) if before is not None else set()
        for reason in sorted(set(now.throttle) - was):
            self.events.append((now.t, f"GPU {now.index} is held down: {reason}"))
        for reason in sorted(was - set(now.throttle)):
            self.events.append((now.t, f"GPU {now.index} runs free again: {reason} has ended"))

    def series(self, index: int, reading: str) -> list[float | None]:
        """One reading of one GPU over time, oldest first; None where it was not available."""
        values: list[float | None] = []
        for snapshots in self.readings:
            snapshot = next((item for item in snapshots if item.index == index), None)
            values.append(None if snapshot is None else getattr(snapshot, reading))
        return values
