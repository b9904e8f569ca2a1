"""Runs as points of a plot: how large, how good and how fast the model of each is, where that is known."""

from collections.abc import Sequence

import msgspec

from store.axes import AXES, Axis
from store.database import Database
from store.reading import read_run
from store.rows import Run
from store.samples import completed
from store.wording import show_precision

_NUMBERS = tuple(axis.name for axis in AXES)
_OF_THE_MODEL = tuple(name for name in _NUMBERS if name != "peak_bytes")  # quantizing takes other memory


class Point(msgspec.Struct, frozen=True):
    """One model as a run has it; what nothing has measured is None, repeats are told by their mean."""

    run_id: str
    model: str
    precision: str  # "int4 / 64", "16-bit"
    baseline: bool
    bytes: float | None
    perplexity: float | None
    decode_tok_s: float | None
    kl_divergence: float | None
    bits_per_weight: float | None
    ttft_ms: float | None
    peak_bytes: float | None

    def value(self, axis: Axis) -> float | None:
        number: float | None = getattr(self, axis.name)
        return number


def points(database: Database, numbers: Sequence[int]) -> list[Point]:
    """A point for each run that is there, completed by what other runs measured of its model."""
    found = []
    for number in numbers:
        run = read_run(database, number)
        if run is not None:
            found.append(_point(database, run))
    return found


def _point(database: Database, run: Run) -> Point:
    row = run.row
    known = {name: sample.mean for name, sample in completed(database, run).items()}
    if row.kind == "quantize":
        known.pop("peak_bytes", None)  # what quantizing took says nothing of the model
    return Point(
        run_id=row.run_id,
        model=row.model,
        precision=show_precision(row.bits, row.group),
        baseline=row.baseline,
        **{name: known.get(name) for name in _NUMBERS},
    )


def distinct(found: Sequence[Point]) -> list[Point]:
    """One point for those that say the same of a model, as the runs on one checkpoint do: the baseline of
    them, else the first.
    """
    kept: dict[tuple[object, ...], Point] = {}
    for point in found:
        said = (point.model, point.precision, *(getattr(point, name) for name in _OF_THE_MODEL))
        if said not in kept or point.baseline:
            kept[said] = point
    return list(kept.values())


def front(found: Sequence[Point], x: Axis, y: Axis) -> list[Point]:
    """The points that no other one beats on both axes (the Pareto front), in the order of x."""
    placed = [(point, *_costs(point, x, y)) for point in found if _known(point, x, y)]
    best = [
        point
        for point, a, b in placed
        if not any(c <= a and d <= b and (c < a or d < b) for _other, c, d in placed)
    ]
    return sorted(best, key=lambda point: point.value(x) or 0.0)


def _known(point: Point, x: Axis, y: Axis) -> bool:
    return point.value(x) is not None and point.value(y) is not None


def _costs(point: Point, x: Axis, y: Axis) -> tuple[float, float]:
    """Both numbers turned so that lower is better."""
    a, b = ((point.value(axis) or 0.0) * (1 if axis.better == "lower" else -1) for axis in (x, y))
    return a, b
