"""A quantize job as its events tell it: how far it is, how long it still takes, what each matrix lost."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from fqconsole.app import formatting
from fqconsole.jobs.messages import (
    AnyEvent,
    CheckpointWritten,
    JobFailed,
    LogLine,
    MatrixDone,
    PhaseStarted,
    PlanReady,
    Progress,
)

# The phases in their order and about which part of the whole each takes.
PHASES = {"balance": 0.10, "analyse": 0.25, "hash": 0.05, "quantize": 0.60}
PHASE_WORDS = {
    "balance": "balancing channels",
    "analyse": "reading the weights",
    "hash": "hashing the source",
    "quantize": "quantizing",
}
WorstOrder = Literal["error", "layer", "bytes"]


def overall_fraction(phase: str, done: float, total: float) -> float | None:
    """The part of the whole job that is done, 0 to 1; None where a total is unknown."""
    here = done / total if total > 0 else 0.0
    if phase not in PHASES:
        return min(here, 1.0) if total > 0 else None
    before = sum(part for name, part in PHASES.items() if _order(name) < _order(phase))
    return min(before + PHASES[phase] * min(here, 1.0), 1.0)


def overall_eta(phase: str, total: float, rate: float | None, eta: float | None) -> float | None:
    """Seconds to the end of the job: the rest of this phase, and the later phases at this phase's pace."""
    if eta is None or not rate or phase not in PHASES:
        return eta
    whole = total / rate
    after = sum(part for name, part in PHASES.items() if _order(name) > _order(phase))
    return eta + whole * after / PHASES[phase]


def _order(phase: str) -> int:
    return list(PHASES).index(phase)


@dataclass
class QuantizeProgress:
    """Built up by `take`; the same events in the same order give the same state."""

    phase: str = ""
    progress: Progress | None = None
    plan: PlanReady | None = None
    matrices: list[MatrixDone] = field(default_factory=list)
    log: list[tuple[float, str, str]] = field(default_factory=list)
    written: CheckpointWritten | None = None
    peak_bytes: int = 0

    def take(self, event: AnyEvent) -> None:
        match event:
            case PhaseStarted():
                self.phase = event.phase
                self.log.append((event.t, "info", PHASE_WORDS.get(event.phase, event.phase)))
            case Progress():
                self.progress = event
                self.phase = event.phase
                self.peak_bytes = max(self.peak_bytes, event.device_bytes or event.host_bytes or 0)
            case PlanReady():
                self.plan = event
            case MatrixDone():
                self.matrices.append(event)
                finer = self.plan is not None and is_finer(event.group_size, self.plan.plan.group_size)
                self.log.append((event.t, "info", matrix_sentence(event, why=finer)))
            case CheckpointWritten():
                self.written = event
            case LogLine():
                self.log.append((event.t, event.level, event.text))
            case JobFailed():
                self.log.append((event.t, "error", f"{event.what} {event.next_step}".strip()))
            case _:
                pass

    @property
    def fraction(self) -> float:
        if self.written is not None:
            return 1.0
        if self.progress is None or self.progress.phase != self.phase:
            return overall_fraction(self.phase, 0, 0) or 0.0
        return overall_fraction(self.phase, self.progress.done, self.progress.total) or 0.0

    @property
    def eta(self) -> float | None:
        """Seconds to the end; None until it is known."""
        progress = self.progress
        if progress is None or progress.phase != self.phase:
            return None
        return overall_eta(progress.phase, progress.total, progress.rate, progress.eta_seconds)

    @property
    def rate(self) -> float | None:
        """Bytes of source weights per second."""
        return self.progress.rate if self.progress else None

    @property
    def bits_per_weight(self) -> float | None:
        """Stored bits over weights of the matrices that are done; of the plan before the first."""
        if self.matrices:
            weights = sum(math.prod(event.shape) for event in self.matrices)
            return sum(event.bytes for event in self.matrices) * 8 / weights
        return self.plan.bits_per_weight if self.plan else None

    def groups(self) -> list[tuple[str, int]]:
        """How many matrices have each group size, widest first."""
        counts = Counter(event.group_size for event in self.matrices)
        return [
            (formatting.group(size), counts[size]) for size in sorted(counts, key=lambda g: -(g or 1 << 30))
        ]

    def errors_by_layer(self) -> list[tuple[int, float, bool]]:
        """(layer, worst relative error, whether a matrix of it went finer than the plan's base group)."""
        base = self.plan.plan.group_size if self.plan else None
        layers: dict[int, tuple[float, bool]] = {}
        for event in self.matrices:
            if event.layer is not None:
                error, finer = layers.get(event.layer, (0.0, False))
                went = self.plan is not None and is_finer(event.group_size, base)
                layers[event.layer] = max(error, event.relative_error), finer or went
        return [(layer, *layers[layer]) for layer in sorted(layers)]

    def worst(self, order: WorstOrder, most: int) -> list[MatrixDone]:
        """The matrices that lost most (or in another order), at most `most`."""
        if order == "layer":
            return sorted(self.matrices, key=lambda e: (e.layer is None, e.layer or 0, e.name))[:most]
        if order == "bytes":
            return sorted(self.matrices, key=lambda e: -e.bytes)[:most]
        return sorted(self.matrices, key=lambda e: -e.relative_error)[:most]


def is_finer(group: int | None, base: int | None) -> bool:
    """Whether `group` is a smaller group than `base`; None is the whole row, the coarsest."""
    return group is not None and (base is None or group < base)


def shape_word(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)


def matrix_sentence(event: MatrixDone, *, why: bool) -> str:
    """One line of the log, readable aloud; `why` adds the reason of its group."""
    place = f"layer {event.layer} {event.kind}" if event.layer is not None else event.name
    group = "channel" if event.group_size is None else f"groups of {event.group_size}"
    reason = f" · {event.reason}" if why and event.reason else ""
    return f"{place} int{event.bits} {group} error {formatting.error(event.relative_error)}{reason}"
