"""What the GPUs screen says of a reading, as plain lines and rows; what could not be read is N/A."""

from collections.abc import Sequence
from typing import Any, Literal

from fqconsole.app import formatting
from fqconsole.app.widgets.bars import level_line

NOT_AVAILABLE = "N/A"
ProcessOrder = Literal["memory", "gpu", "user"]
PROCESS_ORDERS: tuple[ProcessOrder, ...] = ("memory", "gpu", "user")


def reading(value: float | None, unit: str = "") -> str:
    """A whole number with its unit, groups of three digits."""
    return NOT_AVAILABLE if value is None else f"{formatting.tokens(round(value))}{unit}"


def gpu_lines(snapshot: Any, history: Any, width: int) -> list[str]:
    """Utilization and memory with their last minute, then power, temperature and clock."""
    index = snapshot.index
    use = f"util {reading(snapshot.utilization):>4} % "
    use += level_line(history.series(index, "utilization"), max(0, width - len(use)), top=100)
    used, total = snapshot.memory_used, snapshot.memory_total
    if used is None or total is None:
        memory = f"mem  {NOT_AVAILABLE:>6}"
    else:
        memory = f"mem  {formatting.gib(used):>5} / {formatting.gib(total)} GiB "
        memory += level_line(history.series(index, "memory_used"), max(0, width - len(memory)), top=total)
    limit = f" of {reading(snapshot.power_limit_watts)}" if snapshot.power_limit_watts is not None else ""
    heat = f"{reading(snapshot.temperature)} °C"
    state = f"{reading(snapshot.power_watts)}{limit} W  {heat}  {reading(snapshot.sm_clock_mhz)} MHz"
    return [use, memory, state]


def held_words(snapshot: Any) -> str:
    """What holds the clocks down, for the edge of the card; empty when nothing does."""
    return f"! {', '.join(snapshot.throttle)}" if snapshot.throttle else ""


def process_rows(snapshots: Sequence[Any], order: ProcessOrder) -> list[tuple[str, list[str]]]:
    """(key, GPU, PID, user, memory, command) of every process on every GPU."""
    found = [(item.index, process) for item in snapshots for process in item.processes]
    keys = {
        "memory": lambda pair: -(pair[1].memory_bytes or 0),
        "gpu": lambda pair: pair[0],
        "user": lambda pair: pair[1].user,
    }
    rows = []
    for place, (index, process) in enumerate(sorted(found, key=keys[order])):
        name = process.name + ("  (ours)" if process.ours else "")
        memory = NOT_AVAILABLE if process.memory_bytes is None else formatting.memory(process.memory_bytes)
        pid = "?" if process.pid is None else str(process.pid)
        rows.append(
            (f"{index}:{process.pid}:{place}", [str(index), pid, f"  {process.user}", memory, f"  {name}"])
        )
    return rows


def without_gpu_lines(problem: str, host: Any) -> list[str]:
    """Why there is no GPU and what that means, and the memory of the machine instead."""
    lines = [
        problem or "No NVIDIA GPU was found.",
        "Quantizing and generation run on the CPU; everything else works.",
    ]
    if host is not None:
        lines.append(f"host memory  {formatting.gib(host.used)} / {formatting.gib(host.total)} GiB used")
    return lines
