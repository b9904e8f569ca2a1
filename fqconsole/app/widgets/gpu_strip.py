"""The lines above the footer: memory, utilization, power, temperature of each GPU, or why there is none."""

from typing import Any

from textual.content import Content
from textual.widget import Widget

from fqconsole.app import formatting
from fqconsole.app.gpu_history import GpuHistory
from fqconsole.app.widgets.bars import level_line, steps

MOST_LINES = 2  # an 80×24 screen can spare no more; the GPUs screen shows all
NAME_AND_BAR = 22  # a long name takes its cells from the bar, so that the line stays within 80
SPARK = 7
NOT_AVAILABLE = "N/A"


def short_name(name: str) -> str:
    """`NVIDIA H100 80GB HBM3` → `H100`; at most 10 cells."""
    words = [word for word in name.split() if word.upper() not in {"NVIDIA", "GEFORCE", "TESLA"}]
    joined = " ".join(words[:2]) if words and words[0] in {"RTX", "GTX"} else (words[0] if words else "GPU")
    return joined[:10]


def _number(value: float | None, width: int) -> str:
    return f"{NOT_AVAILABLE:>{width}}" if value is None else f"{value:>{width}.0f}"


def gpu_line(snapshot: Any, utilization: list[float | None], note: str = "") -> str:
    """One GPU in at most 80 cells; every reading may be missing. `note` has seven cells in the middle."""
    used, total = snapshot.memory_used, snapshot.memory_total
    name = short_name(snapshot.name or "")
    bar = steps(used / total if used is not None and total else 0.0, NAME_AND_BAR - len(name))
    sizes = f"{formatting.gib(used):>5}/{formatting.gib(total)} GiB" if total else f"{NOT_AVAILABLE:>14}"
    spark = level_line(utilization, SPARK, top=100)
    return (
        f" {snapshot.index} {name} {bar} {sizes}  util {spark} "
        f"{_number(snapshot.utilization, 3)}%{note:>7.7}"
        f"{_number(snapshot.power_watts, 4)} W{_number(snapshot.temperature, 4)} °C"
    )


class GpuStrip(Widget):
    """Reads the console's GpuHistory; `show` is called with every GpuReadings message."""

    def __init__(self) -> None:
        super().__init__()
        self._text = " looking for GPUs …"

    def show(self, gpus: GpuHistory) -> None:
        snapshots = gpus.latest
        if snapshots:
            more = len(snapshots) - MOST_LINES
            notes = [""] * (MOST_LINES - 1) + [f"(+{more})" if more > 0 else ""]
            lines = [
                gpu_line(snapshot, gpus.series(snapshot.index, "utilization"), note)
                for snapshot, note in zip(snapshots, notes, strict=False)
            ]
        elif getattr(self.app, "banner", ""):
            lines = [f" {gpus.problem}"]  # the memory of this machine says nothing about a recording
        else:
            lines = [self._without_gpu(gpus)]
        text = "\n".join(lines)
        if text != self._text:
            self._text = text
            self.styles.height = len(lines)
            self.refresh()

    @staticmethod
    def _without_gpu(gpus: GpuHistory) -> str:
        if gpus.host is None:
            return " looking for GPUs …"
        used, total = formatting.gib(gpus.host.used), formatting.gib(gpus.host.total)
        return f" no NVIDIA GPU: generation runs on the CPU · host memory {used} of {total} GiB used"

    @property
    def text(self) -> str:
        return self._text

    def render(self) -> Content:
        return Content.styled(self._text, "$foreground 70%")
