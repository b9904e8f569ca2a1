"""A quantize job as its events tell it: how far it is, how long it still takes, what each matrix lost."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fqconsole.app import formatting
from fqconsole.app.heat_map import MapCell
from fqconsole.jobs.messages import (
    AnyEvent,
    CheckpointWritten,
    JobFailed,
    LogLine,
    MatrixDone,
    PhaseStarted,
    PlanReady,
    Progress,
    Request,
    StartQuantize,
)
from quantizer.base import base_of
from quantizer.methods import methods_of
from quantizer.plan import Plan

# The phases in their order and about which part of the whole each takes, as measured on a 0.4 GB model.
PHASES = {"hash": 0.02, "balance": 0.18, "analyse": 0.12, "quantize": 0.68}
PHASE_WORDS = {
    "balance": "balancing channels",
    "analyse": "reading the weights",
    "hash": "checking what is finished",
    "quantize": "quantizing",
}
BYTES = "B"
WorstOrder = Literal["error", "layer", "bytes"]
WORST_ORDERS: tuple[WorstOrder, ...] = ("error", "layer", "bytes")


def phases_of(request: Request | None) -> dict[str, float]:
    """The phases that a job will go through, with their parts of the whole: they make 1.

    A plan was analysed before; only modes that balance channels have that phase. What an earlier run finished
    is checked only on a resume, which nobody knows before it begins: it takes its time from none.
    """
    passed = {"hash"}
    if isinstance(request, StartQuantize):
        if request.plan_path is not None:
            passed |= {"balance", "analyse"}
        elif not methods_of(request.mode).balance:
            passed.add("balance")
    parts = {name: part for name, part in PHASES.items() if name not in passed}
    whole = sum(parts.values())
    return {name: part / whole for name, part in parts.items()}


def overall_fraction(
    phase: str, done: float, total: float, phases: Mapping[str, float] = PHASES
) -> float | None:
    """The part of the whole job that is done, 0 to 1; None where a total is unknown."""
    here = done / total if total > 0 else 0.0
    if phase not in PHASES:
        return min(here, 1.0) if total > 0 else None
    before = sum(part for name, part in phases.items() if _order(name) < _order(phase))
    return min(before + phases.get(phase, 0.0) * min(here, 1.0), 1.0)


def _order(phase: str) -> int:
    return list(PHASES).index(phase)


@dataclass
class QuantizeProgress:
    """Built up by `take`; the same events in the same order give the same state."""

    phases: Mapping[str, float] = field(default_factory=lambda: dict(PHASES))
    phase: str = ""
    unit: str = ""  # of the phase
    progress: Progress | None = None
    plan: PlanReady | None = None
    matrices: list[MatrixDone] = field(default_factory=list)
    log: list[tuple[float, str, str]] = field(default_factory=list)
    written: CheckpointWritten | None = None
    host_bytes: int | None = None  # now
    device_bytes: int | None = None
    host_peak: int = 0
    device_peak: int = 0

    def take(self, event: AnyEvent) -> None:
        match event:
            case PhaseStarted():
                self.phase, self.unit = event.phase, event.unit
                self.log.append((event.t, "info", PHASE_WORDS.get(event.phase, event.phase)))
            case Progress():
                self.progress = event
                self.phase = event.phase
                self.host_bytes, self.device_bytes = event.host_bytes, event.device_bytes
                self.host_peak = max(self.host_peak, event.host_bytes or 0)
                self.device_peak = max(self.device_peak, event.device_bytes or 0)
            case PlanReady():
                self.plan = event
            case MatrixDone():
                self.matrices.append(event)
                finer = self.plan is not None and went_finer(self.plan.plan, event.bits, event.group_size)
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
            return overall_fraction(self.phase, 0, 0, self.phases) or 0.0
        done, total = self.progress.done, self.progress.total
        return overall_fraction(self.phase, done, total, self.phases) or 0.0

    @property
    def eta(self) -> float | None:
        """Seconds to the end, as the job itself forecasts it; None until it is known."""
        if self.progress is None or self.progress.phase != self.phase:
            return None
        return self.progress.eta_seconds

    @property
    def rate(self) -> float | None:
        """Bytes of source weights per second; None in a phase that counts something else."""
        return self.progress.rate if self.progress and self.unit == BYTES else None

    @property
    def bits_per_weight(self) -> float | None:
        """Stored bits over weights of the matrices that are done; of the plan before the first."""
        if self.matrices:
            weights = sum(math.prod(event.shape) for event in self.matrices)
            return sum(event.bytes for event in self.matrices) * 8 / weights
        return self.plan.bits_per_weight if self.plan else None

    def schemes(self) -> list[tuple[str, int]]:
        """How many matrices have each group size, widest first; with several widths, how many have each."""
        widths = Counter(event.bits for event in self.matrices)
        if len(widths) > 1:
            return [(f"int{bits}", widths[bits]) for bits in sorted(widths, reverse=True)]
        counts = Counter(event.group_size for event in self.matrices)
        return [
            (formatting.group(size), counts[size]) for size in sorted(counts, key=lambda g: -(g or 1 << 30))
        ]

    def errors_by_layer(self) -> list[tuple[int, float, bool]]:
        """(layer, worst relative error, whether a matrix of it went finer than the plan's base group)."""
        plan = self.plan.plan if self.plan else None
        layers: dict[int, tuple[float, bool]] = {}
        for event in self.matrices:
            if event.layer is not None:
                error, finer = layers.get(event.layer, (0.0, False))
                went = went_finer(plan, event.bits, event.group_size)
                layers[event.layer] = max(error, event.relative_error), finer or went
        return [(layer, *layers[layer]) for layer in sorted(layers)]

    def worst(self, order: WorstOrder, most: int) -> list[MatrixDone]:
        """The matrices that lost most (or in another order), at most `most`."""
        if order == "layer":
            return sorted(self.matrices, key=lambda e: (e.layer is None, e.layer or 0, e.name))[:most]
        if order == "bytes":
            return sorted(self.matrices, key=lambda e: -e.bytes)[:most]
        return sorted(self.matrices, key=lambda e: -e.relative_error)[:most]


def map_cells(plan: Plan | None, done: Sequence[MatrixDone], planned: bool = True) -> list[MapCell]:
    """The cells of the heat map: all of the plan, as far as each is done; without a plan those that are done.

    `planned` False: bits and groups of the plan are only where it starts from, so they are not told yet.
    Matrices outside the numbered layers have no place on the map.
    """
    finished = {event.name: event for event in done}
    cells = []
    for matrix in plan.matrices if plan is not None else ():
        event = finished.pop(matrix.name, None)
        if matrix.layer is None:
            continue
        scheme = matrix.scheme
        known = planned or event is not None
        cells.append(
            MapCell(
                matrix.name,
                matrix.layer,
                place_in_layer(matrix.name, matrix.layer),
                bits=scheme.bits if known else None,
                group=scheme.group_size if known else None,
                error=event.relative_error if event is not None else None,
                finer=known and went_finer(plan, scheme.bits, scheme.group_size),
            )
        )
    for event in finished.values():
        if event.layer is not None:
            kind = place_in_layer(event.name, event.layer)
            cells.append(
                MapCell(event.name, event.layer, kind, event.bits, event.group_size, event.relative_error)
            )
    return cells


def place_in_layer(name: str, layer: int) -> str:
    """What stands behind the layer's number: `self_attn.q_proj` of `model.layers.3.self_attn.q_proj`."""
    return name.partition(f".{layer}.")[2] or name


def went_finer(plan: Plan | None, bits: int, group: int | None) -> bool:
    """Whether a matrix has smaller groups than the rule began with; a planned one began with none."""
    if plan is None or plan.granularity == "planned":
        return False
    return is_finer(group, base_of(bits, plan.bits, plan.group_size))


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
