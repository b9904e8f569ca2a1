"""`fqconsole gpus`: what NVML reads off the GPUs, once or again and again."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqconsole.cli.options import Json
from fqconsole.cli.output import Output

if TYPE_CHECKING:
    from fqconsole.gpus import GpuSnapshot


def gpus(
    watch: Annotated[bool, typer.Option("--watch", help="Read again and again until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Time between two readings with --watch.")
    ] = 2.0,
    json: Json = False,
) -> None:
    """Show memory, load, power, temperature and processes of each GPU.

    With --watch --json there is one document a line.
    """
    import time

    from fqconsole.gpus import open_gpus

    output = Output(json=json)
    watcher = open_gpus()
    while True:
        snapshots = watcher.sample() if watcher.available else ()
        if json:
            output.result({"gpus": snapshots, "problem": watcher.problem or None}, lines=watch)
        elif snapshots:
            output.line("\n".join(_block(snapshot) for snapshot in snapshots))
        else:
            output.line(f"No GPU: {watcher.problem} Everything else works, on the CPU.")
        if not watch or not watcher.available:
            return
        time.sleep(interval)


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
    for process in gpu.processes:
        who = "not visible from here" if process.pid is None else f"{process.pid} {process.user or '?'}"
        ours = "  (ours)" if process.ours else ""
        lines.append(f"       {who}  {size(process.memory_bytes)}  {process.name or '?'}{ours}")
    return "\n".join(lines)
