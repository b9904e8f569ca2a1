"""The last readings of every GPU and of the machine: what the strip and the GPUs screen draw."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from fqconsole.app.services import GpuSource, HostMemory

KEPT = 480  # readings: four minutes at 2 Hz
EVENTS_KEPT = 200
# What each of the reasons that `fqconsole.gpus.nvml` names means to the operator.
MEANINGS = {
    "power cap": "it draws as much power as it may",
    "hardware slowdown": "the board halves its clocks or worse: look at cooling and power supply",
    "software thermal slowdown": "the driver lowers its clocks to cool it",
    "hardware thermal slowdown": "it is too hot and halves its clocks or worse",
    "power brake": "the machine's power supply told it to slow down",
}


class GpuHistory:
    """Owned by the console, which adds a reading twice a second."""

    def __init__(self) -> None:
        self.source: GpuSource | None = None
        self.problem = ""
        self.readings: deque[tuple[Any, ...]] = deque(maxlen=KEPT)
        self.hosts: deque[HostMemory] = deque(maxlen=KEPT)
        self.events: deque[tuple[float, str]] = deque(maxlen=EVENTS_KEPT)

    @property
    def latest(self) -> tuple[Any, ...]:
        """GpuSnapshot of every GPU; empty when there is none, or none has been read yet."""
        return self.readings[-1] if self.readings else ()

    @property
    def host(self) -> HostMemory | None:
        """The machine's own memory and processors as last read."""
        return self.hosts[-1] if self.hosts else None

    def take(
        self, snapshots: tuple[Any, ...], host: HostMemory, workers: Mapping[int, str] | None = None
    ) -> None:
        """Add a reading, and an event where a GPU began or ceased to be held down or came or went, or where a
        worker of ours (`workers`: names by process id) did.
        """
        before = {item.index: item for item in self.latest}
        for item in snapshots:
            known = before.pop(item.index, None)
            self._note_throttling(known, item)
            self._note_workers(known, item, workers or {})
        for gone in before.values():
            self.events.append((gone.t, f"GPU {gone.index} is no longer visible"))
        self.hosts.append(host)
        self.readings.append(snapshots)

    def _note_throttling(self, before: Any, now: Any) -> None:
        was = set(before.throttle) if before is not None else set()
        for reason in sorted(set(now.throttle) - was):
            meaning = f" ({MEANINGS[reason]})" if reason in MEANINGS else ""
            self.events.append((now.t, f"GPU {now.index} is held down: {reason}{meaning}"))
        for reason in sorted(was - set(now.throttle)):
            self.events.append((now.t, f"GPU {now.index} runs free again: {reason} has ended"))

    def _note_workers(self, before: Any, now: Any, workers: Mapping[int, str]) -> None:
        was = _ours(before) if before is not None else {}
        is_there = _ours(now)
        for pid in is_there.keys() - was.keys():
            name = workers.get(pid, is_there[pid])
            self.events.append((now.t, f"GPU {now.index} is used by {name} (process {pid})"))
        for pid in was.keys() - is_there.keys():
            name = workers.get(pid, was[pid])
            self.events.append((now.t, f"GPU {now.index} is no longer used by {name} (process {pid})"))

    def series(self, index: int, reading: str) -> list[float | None]:
        """One reading of one GPU over time, oldest first; None where it was not available."""
        values: list[float | None] = []
        for snapshots in self.readings:
            snapshot = next((item for item in snapshots if item.index == index), None)
            values.append(None if snapshot is None else getattr(snapshot, reading))
        return values

    def host_series(self, reading: str) -> list[float | None]:
        """One reading of the machine over time, oldest first."""
        return [getattr(host, reading) for host in self.hosts]


def _ours(snapshot: Any) -> dict[int, str]:
    """The processes of fqconsole on a GPU, by their ids."""
    return {item.pid: item.name for item in snapshot.processes if item.ours and item.pid is not None}
