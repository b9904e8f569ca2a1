"""An axis of a plot: which number, which way is better, and where its marks stand."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from store.wording import KIB, MIB, Unit, show

LOGARITHMIC_FROM = 20.0  # largest over smallest value from which on a linear axis would hide the small ones


class Axis(msgspec.Struct, frozen=True):
    """A number of `store.points.Point` and how it is read."""

    name: str
    label: str
    unit: Unit
    better: Literal["lower", "higher"]

    def show(self, value: float | None) -> str:
        return show(value, self.unit)


AXES = (
    Axis("bytes", "size", "bytes", "lower"),
    Axis("perplexity", "perplexity", "perplexity", "lower"),
    Axis("decode_tok_s", "tok/s", "tok/s", "higher"),
    Axis("kl_divergence", "KL divergence", "number", "lower"),
    Axis("bits_per_weight", "bits per weight", "number", "lower"),
    Axis("ttft_ms", "TTFT", "ms", "lower"),
    Axis("peak_bytes", "peak memory", "bytes", "lower"),
)


class Scale(msgspec.Struct, frozen=True):
    """Values on 0 … 1, linear or logarithmic, with the marks that stand on it."""

    low: float
    high: float
    logarithmic: bool
    marks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value lies between the ends."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def texts(self, axis: Axis) -> tuple[str, ...]:
        """What stands at the marks, with as many digits as keep them apart."""
        unit: Unit = "number" if axis.unit == "perplexity" else axis.unit  # marks are round
        shown = [show(mark, unit) for mark in self.marks]
        if len(set(shown)) == len(shown):
            return tuple(shown)
        digits = max(0, 1 - math.floor(math.log10(abs(self.marks[1] - self.marks[0]))))
        if axis.unit == "bytes":
            return tuple(
                f"{mark / MIB:.{digits + 6}f}".rstrip("0").rstrip(".") + " MiB" for mark in self.marks
            )
        return tuple(f"{mark:.{digits}f}" for mark in self.marks)


def scale_of(values: Sequence[float], axis: Axis, *, most_marks: int = 6) -> Scale:
    """A scale around `values` (one at least) with some room at the ends; marks at 1, 2 and 5 times powers of
    ten, for bytes at halves and doubles.
    """
    low, high = min(values), max(values)
    if low > 0 and high / low >= LOGARITHMIC_FROM:
        room = (high / low) ** 0.06
        marks = [mark for mark in _decades(low, high) if low / room <= mark <= high * room]
        return Scale(low / room, high * room, True, _thinned(marks, most_marks))
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    # What can't be negative begins at nothing when it comes near it.
    begin, end = (max(0.0, low - room) if low >= 0 else low - room), high + room
    step = _step((end - begin) / most_marks, binary=axis.unit == "bytes" and end >= KIB)
    first = math.ceil(begin / step - 1e-9)
    marks = [step * place for place in range(first, math.floor(end / step + 1e-9) + 1)]
    return Scale(begin, end, False, tuple(marks))


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5)]


def _thinned(marks: list[float], most: int) -> tuple[float, ...]:
    step = max(1, math.ceil(len(marks) / most))
    return tuple(marks[::step])


def _step(least: float, *, binary: bool) -> float:
    """The smallest round step that is not below `least`."""
    if binary:
        return float(2.0 ** math.ceil(math.log2(least)))
    power = 10.0 ** math.floor(math.log10(least))
    return next(digit * power for digit in (1, 2, 2.5, 5, 10) if digit * power >= least * (1 - 1e-9))
