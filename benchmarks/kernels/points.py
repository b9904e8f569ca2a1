"""What a run measured, as plain data: written to JSON, read back, and turned into tables by `report`."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OURS = "ours"
CUBLAS = "cuBLAS"


@dataclass(frozen=True)
class Point:
    """One layer at one number of rows: who multiplied it and how long that took.

    `scheme` is empty for 16-bit weights; `dtype` is the activations'; `bytes` the weights as they are held.
    """

    who: str
    layer: str
    scheme: str
    dtype: str
    rows: int
    microseconds: float
    bytes: int
    error: float = 0.0  # relative, against the float32 product of the same weights


@dataclass(frozen=True)
class ExpertPoint:
    """One expert product, or a whole block (`what` = "block"), at one batch; `touched` bytes of weights."""

    who: str
    model: str
    what: str
    scheme: str
    batch: int
    microseconds: float
    touched: int


@dataclass(frozen=True)
class Accuracy:
    """Largest relative error over the shapes tried, against float64."""

    scheme: str
    dtype: str
    rows: int
    error: float
    shapes: int


@dataclass(frozen=True)
class Roof:
    """What the GPU itself can do, measured in the same run.

    `read` and `read_dependent` are (bytes, microseconds) of kernels that only read, the second ones launched
    before the one in front has ended. `tensor` is the best 16-bit matmul in operations a second.
    """

    read: tuple[tuple[int, float], ...]
    read_dependent: tuple[tuple[int, float], ...]
    tensor: float

    def read_microseconds(self, count: int, *, dependent: bool = False) -> float:
        """Time to read so many bytes, straight lines between the sizes measured."""
        curve = (self.read_dependent if dependent else self.read) or self.read
        return along(curve, count)

    def limit(self, count: int, operations: int) -> float:
        """Microseconds that no kernel can beat: its bytes must be read and its operations done."""
        return max(self.read_microseconds(count), operations / self.tensor * 1e6)


def along(curve: Sequence[tuple[int, float]], x: float) -> float:
    """The piecewise straight curve at `x`; beyond its ends it goes on as at the last two points."""
    if len(curve) < 2:
        raise ValueError("a curve needs two points")
    index = 1
    while index < len(curve) - 1 and x > curve[index][0]:
        index += 1
    (x0, y0), (x1, y1) = curve[index - 1], curve[index]
    if x < x0:
        return y0  # a smaller read is not known to be faster
    return y0 + (x - x0) * (y1 - y0) / (x1 - x0)


@dataclass
class Record:
    """Everything of one run."""

    facts: dict[str, Any]
    roof: Roof
    points: list[Point] = field(default_factory=list)
    experts: list[ExpertPoint] = field(default_factory=list)
    accuracy: list[Accuracy] = field(default_factory=list)
    determinism: dict[str, bool] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)  # single numbers, by name
    notes: list[str] = field(default_factory=list)  # what was left out or failed, one sentence each

    def times(self, who: str, scheme: str, dtype: str) -> dict[tuple[str, int], Point]:
        """Points of one kernel by (layer, rows)."""
        return {
            (p.layer, p.rows): p for p in self.points if (p.who, p.scheme, p.dtype) == (who, scheme, dtype)
        }

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Record":
        raw = json.loads(path.read_text())
        roof = Roof(
            read=_curve(raw["roof"]["read"]),
            read_dependent=_curve(raw["roof"]["read_dependent"]),
            tensor=raw["roof"]["tensor"],
        )
        return cls(
            facts=raw["facts"],
            roof=roof,
            points=[Point(**p) for p in raw["points"]],
            experts=[ExpertPoint(**p) for p in raw["experts"]],
            accuracy=[Accuracy(**p) for p in raw["accuracy"]],
            determinism=raw["determinism"],
            figures=raw["figures"],
            notes=raw["notes"],
        )


def _curve(pairs: Iterable[Sequence[float]]) -> tuple[tuple[int, float], ...]:
    return tuple((int(size), float(taken)) for size, taken in pairs)


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios; NaN of nothing."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else math.nan
