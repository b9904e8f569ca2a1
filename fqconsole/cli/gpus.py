"""`fqconsole gpus`: what NVML reads off the GPUs, once or again and again."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli.options import Json
from fqconsole.cli.output import Output

if TYPE_CHECKING:
    from fqconsole.gpus import GpuSnapshot

MOMENT = 0.1  # seconds over which the processors are watched


def gpus(
    watch: Annotated[
        bool, typer.Option("--watch/--once", help="Read again and again until Ctrl-C, or a single time.")
    ] = False,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Time between two readings with --watch.")
    ] = 2.0,
    json: Json = False,
) -> None:
    """Show memory, load, power, temperature and processes of each GPU.

    Without one it shows how busy the machine itself is. With --watch --json there is one document a line.
    """
    import time

    from fqconsole.gpus import open_gpus

    output = Output(json=json)
    watcher = open_gpus()
    while True:
        snapshots = watcher.sample() if watcher.available else ()
        host = None if snapshots else _host()
        if json:
            output.result({"gpus": snapshots, "problem": watcher.problem or None, "host": host}, lines=watch)
        else:
            output.line(
                "\n".join(_block(snapshot) for snapshot in snapshots) or _without(watcher.problem, host)
            )
        if not watch or not watcher.available:
            return
        time.sleep(interval)


def _host() -> dict[str, float]:
    """Memory of the machine in bytes, and how busy its processors are, percent."""
    import psutil

    memory = psutil.virtual_memory()
    return {
        "memory_used": memory.total - memory.available,
        "memory_total": memory.total,
        "cpu": psutil.cpu_percent(MOMENT),
    }


def _without(problem: str, host: dict[str, float] | None) -> str:
    from fqconsole.cli.quantities import size

    lines = [f"No GPU: {problem} Everything else works, on the CPU."]
    if host is not None:
        used, total = size(int(host["memory_used"])), size(int(host["memory_total"]))
        lines.append(f"host   {used} of {total} used, CPU {host['cpu']:.0f} % busy")
    return "\n".join(lines)


def _or_na(value: Any, unit: str = "") -> str:
    return "N/A" if value is None else f"{value:.0f}{unit}"


def _block(gpu: "GpuSnapshot") -> str:
    from fqconsole.cli.quantities import size

    lines = [
        f"GPU {gpu.index}  {gpu.name or 'N/A'}  {size(gpu.memory_used)} of {size(gpu.memory_total)} used, "
        f"{size(gpu.memory_free)} free",
        f"       {_or_na(gpu.utilization, ' %')} busy, "
        f"{_or_na(gpu.power_watts)} of {_or_na(gpu.power_limit_watts, ' W')}, "
        f"{_or_na(gpu.temperature, ' °C')}, {_or_na(gpu.sm_clock_mhz, ' MHz')}"
        + (f", slowed by {', '.join(gpu.throttle)}" if gpu.throttle else ""),
    ]
    lines += [
        f"       MIG {piece.name}  {size(piece.memory_used)} of {size(piece.memory_total)} used"
        for piece in gpu.mig
    ]
    for process in gpu.processes:
        who = "not visible from here" if process.pid is None else f"{process.pid} {process.user or '?'}"
        ours = "  (ours)" if process.ours else ""
        lines.append(f"       {who}  {size(process.memory_bytes)}  {process.name or '?'}{ours}")
    return "\n".join(lines)
