"""What stderr says while a job runs: on a terminal one line that changes, elsewhere a line now and then."""

import os
import shutil
import sys
import time
from collections.abc import Callable

from fqconsole.cli.escaping import one_line
from fqconsole.cli.output import Output, write
from fqconsole.cli.quantities import duration, group, precision, size
from fqconsole.cli.table import cut
from fqconsole.jobs.messages import (
    AnyEvent,
    CheckpointWritten,
    LogLine,
    MatrixDone,
    PhaseStarted,
    PlanReady,
    Progress,
    SessionReady,
    WorkerStarted,
)

TERMINAL_PERIOD = 0.1  # seconds between two changes of the line
PLAIN_PERIOD = 10.0  # seconds between two lines in a log
CLEAR_LINE = "\r\x1b[K"


class Narrator:
    """Turns events into narration. `close` leaves the cursor on an empty line."""

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._clock = clock
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not output.quiet
        self._drawn = False
        self._last = 0.0
        self._matrices = (0, 0)

    def feed(self, event: AnyEvent) -> None:
        """Say what this event is worth saying."""
        match event:
            case WorkerStarted():
                self.say(f"on {event.device_name or event.device}")
            case PhaseStarted():
                self._last = self._clock()
                if not self._live:
                    self.say(f"{event.phase}{_amount(event.total, event.unit)}")
            case Progress():
                self._progress(event)
            case PlanReady():
                self.say(_plan(event))
            case MatrixDone():
                self._matrices = (event.index + 1, event.count)
            case CheckpointWritten():
                self.say(f"wrote {event.checkpoint}")
            case SessionReady():
                self.say(
                    f"loaded in {duration(event.load_seconds)}: {event.precision} on {event.device} "
                    f"({event.path}), {size(event.weights_bytes)}, context {event.context}"
                )
            case LogLine():
                self.say(event.text if event.level == "info" else f"{event.level}: {event.text}")

    def say(self, text: str) -> None:
        """A line that stays."""
        self.close()
        self._output.say(text)

    def close(self) -> None:
        """Take the changing line away."""
        if self._drawn:
            write(sys.stderr, CLEAR_LINE)
            self._drawn = False

    def _progress(self, event: Progress) -> None:
        now = self._clock()
        if now - self._last < (TERMINAL_PERIOD if self._live else PLAIN_PERIOD):
            return
        self._last = now
        line = self._line(event)
        if not self._live:
            self._output.say(line)
            return
        width = shutil.get_terminal_size().columns - 1
        write(sys.stderr, CLEAR_LINE + cut(one_line(line), width))
        self._drawn = True

    def _line(self, event: Progress) -> str:
        parts = [event.phase]
        if event.total > 0:
            parts.append(f"{min(1.0, event.done / event.total):.0%}")
        done, count = self._matrices
        if count:
            parts.append(f"{done}/{count} matrices")
        if event.rate is not None and event.rate > 0:
            parts.append(f"{size(event.rate)}/s" if event.total > 1e5 else f"{event.rate:.0f}/s")
        if event.eta_seconds is not None:
            parts.append(f"~{duration(event.eta_seconds)} left")
        memory = event.device_bytes or event.host_bytes
        if memory:
            parts.append(f"memory {size(memory)}")
        if event.note:
            parts.append(event.note)
        return "  ".join(parts)


def _amount(total: float, unit: str) -> str:
    if total <= 0:
        return ""
    return f": {size(total)}" if unit == "B" else f": {total:.0f} {unit}"


def _plan(event: PlanReady) -> str:
    plan = event.plan
    groups: dict[int | None, int] = {}
    for matrix in plan.matrices:
        groups[matrix.scheme.group_size] = groups.get(matrix.scheme.group_size, 0) + 1
    spread = ", ".join(f"{group(size_)} ×{count}" for size_, count in sorted(groups.items(), key=_by_group))
    return (
        f"plan: {precision(plan.bits)} {plan.granularity}, {len(plan.matrices)} matrices, groups {spread}; "
        f"{event.bits_per_weight:.3f} bits per weight, {size(event.predicted_bytes)}"
    )


def _by_group(item: tuple[int | None, int]) -> float:
    return float("-inf") if item[0] is None else -item[0]
