"""What the GPUs screen says of a reading, as plain lines and rows; what could not be read is N/A."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from fqconsole.app import formatting
from fqconsole.app.area_graph import area
from fqconsole.app.gpu_history import GpuHistory
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.visible_text import one_line
from fqconsole.app.widgets.bars import level_line
from fqconsole.jobs.messages import WorkerStarted

NOT_AVAILABLE = "N/A"
ProcessOrder = Literal["memory", "gpu", "user"]
PROCESS_ORDERS: tuple[ProcessOrder, ...] = ("memory", "gpu", "user")
LABEL = 20  # cells before a graph


def reading(value: float | None, unit: str = "") -> str:
    """A whole number with its unit, groups of three digits."""
    return NOT_AVAILABLE if value is None else f"{formatting.tokens(round(value))}{unit}"


def gpu_lines(snapshot: Any, history: GpuHistory, width: int) -> list[str]:
    """Utilization and memory with their last minute, then power, temperature and clock."""
    index = snapshot.index
    use = f"util {reading(snapshot.utilization, ' %'):>6} "
    use += level_line(history.series(index, "utilization"), max(0, width - len(use)), top=100)
    used, total = snapshot.memory_used, snapshot.memory_total
    if used is None or total is None:
        memory = f"mem  {NOT_AVAILABLE:>6}"
    else:
        memory = f"mem  {formatting.gib(used):>5} / {formatting.gib(total)} GiB "
        memory += level_line(history.series(index, "memory_used"), max(0, width - len(memory)), top=total)
    slices = mig_words(snapshot)
    return [use, memory, (slices or _state(snapshot))[:width]]


def _state(snapshot: Any) -> str:
    """`412 of 700 W  72 °C  1,755 MHz`; what could not be read is named."""
    limit = snapshot.power_limit_watts
    of = "" if limit is None or snapshot.power_watts is None else f" of {reading(limit)}"
    parts = (
        ("power", snapshot.power_watts, f"{of} W"),
        ("temp", snapshot.temperature, " °C"),
        ("clock", snapshot.sm_clock_mhz, " MHz"),
    )
    return "  ".join(
        f"{name} {NOT_AVAILABLE}" if value is None else reading(value, unit) for name, value, unit in parts
    )


def gpu_graphs(snapshot: Any, history: GpuHistory, width: int, height: int) -> list[str]:
    """Utilization, memory and power over time, as high as there is room, then the rest of the readings."""
    last = [line[:width] for line in (mig_words(snapshot), _state(snapshot)) if line]
    free = max(3, height - len(last))
    heights = [free // 3 + (place < free % 3) for place in range(3)]
    use, held, power = (
        history.series(snapshot.index, name) for name in ("utilization", "memory_used", "power_watts")
    )
    total, limit = snapshot.memory_total, snapshot.power_limit_watts
    memory = NOT_AVAILABLE
    if snapshot.memory_used is not None:
        memory = f"{formatting.gib(snapshot.memory_used)}/{formatting.gib(total)} GiB"
    graphs = (
        (f"util  {reading(snapshot.utilization, ' %')}", _most(use, reading, " %"), use, 100.0),
        (f"mem   {memory}", _most(held, formatting.gib, " GiB"), held, total),
        (f"power {reading(snapshot.power_watts, ' W')}", _most(power, reading, " W"), power, limit),
    )
    lines = []
    for (label, most, values, top), rows in zip(graphs, heights, strict=True):
        peak = max((value for value in values if value is not None), default=0.0)
        lines += graph_lines(label, most, values, width, rows, top=top or peak)
    return [*lines, *last]


def _most(values: Sequence[float | None], show: Callable[[float], str], unit: str) -> str:
    """The largest reading of the graph in words."""
    known = [value for value in values if value is not None]
    return f"most  {show(max(known))}{unit}" if known else ""


def graph_lines(
    label: str, under: str, values: Sequence[float | None], width: int, rows: int, *, top: float
) -> list[str]:
    """A graph with a label before its first line and another before its second."""
    heads = [label, under, *[""] * rows][:rows]
    drawn = area(values, max(0, width - LABEL), rows, top=top)
    return [f"{head:<{LABEL}.{LABEL - 1}}{line}" for head, line in zip(heads, drawn, strict=True)]


def mig_words(snapshot: Any) -> str:
    """`MIG 1g.10gb 4.1/9.8  3g.40gb 0.0/39.5 GiB`; empty where the GPU is whole."""
    parts = [
        f"{piece.name} {formatting.gib(piece.memory_used)}/{formatting.gib(piece.memory_total)}"
        for piece in snapshot.mig
    ]
    return f"MIG {'  '.join(parts)} GiB" if parts else ""


def held_words(snapshot: Any) -> str:
    """What holds the clocks down, for the edge of the card; empty when nothing does."""
    return f"! {', '.join(snapshot.throttle)}" if snapshot.throttle else ""


def worker_names(handles: Iterable[JobHandle]) -> dict[int, str]:
    """The process ids of this console's workers, and what each works on."""
    names = {}
    for handle in handles:
        started = next((event for event in handle.history if isinstance(event, WorkerStarted)), None)
        if handle.ended is None and started is not None:
            names[started.pid] = f"fqconsole worker {handle.current_run or one_line(handle.title)}"
    return names


def process_rows(
    snapshots: Sequence[Any], order: ProcessOrder, workers: Mapping[int, str] | None = None
) -> list[tuple[str, list[str]]]:
    """(key, GPU, PID, user, memory, command) of every process on every GPU; ours are named by their run."""
    found = [(item.index, process) for item in snapshots for process in item.processes]
    keys = {
        "memory": lambda pair: -(pair[1].memory_bytes or 0),
        "gpu": lambda pair: pair[0],
        "user": lambda pair: pair[1].user,
    }
    rows = []
    for place, (index, process) in enumerate(sorted(found, key=keys[order])):
        name = one_line((workers or {}).get(process.pid, process.name))
        name += "  (ours)" if process.ours else ""
        memory = NOT_AVAILABLE if process.memory_bytes is None else formatting.memory(process.memory_bytes)
        pid = "?" if process.pid is None else str(process.pid)
        rows.append(
            (f"{index}:{process.pid}:{place}", [str(index), pid, f"  {process.user}", memory, f"  {name}"])
        )
    return rows


def copied_text(snapshots: Sequence[Any], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The readings and the processes as text with tabs, for a message or a spreadsheet."""
    lines = ["GPU\tname\tutil\tmemory\tpower\ttemperature\tclock\theld down by"]
    for item in snapshots:
        memory = f"{formatting.gib(item.memory_used)}/{formatting.gib(item.memory_total)} GiB"
        cells = (
            str(item.index),
            item.name,
            reading(item.utilization, " %"),
            NOT_AVAILABLE if item.memory_used is None else memory,
            reading(item.power_watts, " W"),
            reading(item.temperature, " °C"),
            reading(item.sm_clock_mhz, " MHz"),
            ", ".join(item.throttle),
        )
        lines.append("\t".join(cells))
    if rows:
        lines += ["", "GPU\tPID\tuser\tmemory\tcommand"]
        lines += ["\t".join(cell.strip() for cell in row) for _key, row in rows]
    return "\n".join(lines)


def without_gpu_lines(history: GpuHistory, width: int, height: int) -> list[str]:
    """Why there is no GPU and what that means, then how busy the machine itself is."""
    lines = [
        history.problem or "No NVIDIA GPU was found.",
        "Quantizing and generation run on the CPU; everything else works.",
    ]
    host = history.host
    if host is None:
        return lines
    free = max(2, height - len(lines))
    busy = "CPU  " + (NOT_AVAILABLE if host.cpu is None else f"{host.cpu:.0f} %")
    memory = f"mem  {formatting.gib(host.used)}/{formatting.gib(host.total)} GiB"
    cpu_values, used_values = history.host_series("cpu"), history.host_series("used")
    lines += graph_lines(busy, "of all cores", cpu_values, width, free - free // 2, top=100)
    lines += graph_lines(memory, "of this machine", used_values, width, free // 2, top=host.total)
    return lines
