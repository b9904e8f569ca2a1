"""Who is on the frontier of loss against bits per weight: pure arithmetic on measured points."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OURS = "fqconsole"


@dataclass(frozen=True)
class Point:
    """One quantizer at one setting: `bits` for each weight with all that it keeps, `loss` the KL divergence.

    `size` is the word it goes by: 3, 4 or 8.
    """

    who: str
    detail: str
    size: int
    bits: float
    loss: float

    @property
    def label(self) -> str:
        return f"{self.who} {self.detail}"


@dataclass(frozen=True)
class Verdict:
    """What the points of one size say.

    `ours`: our points on the frontier. `others`: peers on it too. `losing`: our points that are off it, each
    with the peers that are at once as small and as good.
    """

    size: int
    ours: tuple[Point, ...]
    others: tuple[Point, ...]
    losing: tuple[tuple[Point, tuple[Point, ...]], ...]

    @property
    def word(self) -> str:
        if not self.ours:
            return "off the frontier"
        return "on the frontier, not alone" if self.others else "on the frontier alone"


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is no larger and no worse than `other`, and not the same in both."""
    no_worse = one.bits <= other.bits and one.loss <= other.loss
    return no_worse and (one.bits < other.bits or one.loss < other.loss)


def frontier(points: Iterable[Point]) -> tuple[Point, ...]:
    """The points that no other dominates, by bits."""
    held = list(points)
    best = [point for point in held if not any(dominates(other, point) for other in held)]
    return tuple(sorted(best, key=lambda point: (point.bits, point.loss)))


def verdict(points: Sequence[Point], size: int) -> Verdict:
    """Over all points of one model, the verdict on those of one size. Peers count against ours, whatever size
    they go by; one of ours that another of ours dominates is no loss.
    """
    best = frontier(points)
    peers = [point for point in points if point.who != OURS]
    losing = []
    for point in points:
        if point.who == OURS and point.size == size:
            above = tuple(peer for peer in peers if dominates(peer, point))
            if above:
                losing.append((point, above))
    return Verdict(
        size,
        tuple(point for point in best if point.size == size and point.who == OURS),
        tuple(point for point in best if point.size == size and point.who != OURS),
        tuple(losing),
    )


def loss_at(points: Iterable[Point], size: int, bits: float) -> float | None:
    """What ours of one size lose at `bits`: between two neighbours on our own frontier by a straight line of
    log loss over bits, above the largest what the largest loses. None below the smallest.

    Such a point in between is real: some matrices at one group size, the others at the next.
    """
    own = frontier(point for point in points if point.who == OURS and point.size == size)
    below = [point for point in own if point.bits <= bits]
    if not below:
        return None
    left = below[-1]
    above = [point for point in own if point.bits > bits]
    if not above or min(left.loss, above[0].loss) <= 0:
        return left.loss
    right = above[0]
    share = (bits - left.bits) / (right.bits - left.bits)
    return math.exp(math.log(left.loss) * (1 - share) + math.log(right.loss) * share)
