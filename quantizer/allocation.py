"""Choosing one candidate for each set, so that a total stays under a limit and another total is least.

    minimise Σ value[s][c_s]   where   Σ cost[s][c_s] ≤ limit

which is the multiple-choice knapsack: bits shared out at least loss (cost: bytes, value: loss), or loss
shared out at least bytes. First Lagrange's way: of each set only the candidates on the lower convex hull
count, and their steps, steepest first, are taken as long as they fit. That is off the optimum by less than
one step: next to nothing for hundreds of sets, but not for a few dozen, which are worked out anew by dynamic
programming, exactly where the costs allow it, else on a fine grid. What is left of the limit is then used up
by moves, one set at a time or two at once, as long as any lowers the total. One step can be much where the
limit is just what one scheme for all takes: such choices, the rivals, are tried as well.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

MOST_MOVES = 400  # far more than are ever needed; a bound on the time
PAIRED_CHANGES = 40_000  # beyond so many single changes pairs are not worth their time
SLACK = 1e-12  # of the limit: sums of floats
FEW_SETS = 64
GRID = 1 << 13  # 64 sets are off by less than a percent of what can be shared out, until the moves
EXACT_GRID = 1 << 15


class Step(NamedTuple):
    """Set `choice` goes from one candidate of its hull to the next."""

    choice: int
    before: int
    after: int
    cost: float  # more
    value: float  # less, negative


class Allocation(NamedTuple):
    """One candidate a set, and the totals."""

    picks: tuple[int, ...]
    cost: float
    value: float


class Problem:
    """The candidates of all sets: `costs[s][c]` and `values[s][c]`, any finite numbers of at least 0."""

    def __init__(
        self,
        costs: Sequence[Sequence[float]],
        values: Sequence[Sequence[float]],
        rivals: Sequence[Sequence[int]] = (),
    ) -> None:
        """`rivals` are choices that no allocation found here may be worse than, where they fit."""
        self._costs = [np.asarray(row, dtype=np.float64) for row in costs]
        self._values = [np.asarray(row, dtype=np.float64) for row in values]
        self._rivals = [list(picks) for picks in rivals]
        self._hulls = [hull(cost, value) for cost, value in zip(self._costs, self._values, strict=True)]
        self._steps = sorted(self._all_steps(), key=lambda step: step.value / step.cost)

    def least(self, limit: float) -> Allocation | None:
        """The allocation of least value within `limit`; None where even the cheapest costs more."""
        limit *= 1 + SLACK
        cheapest = [held[0] for held in self._hulls]
        if self._total(self._costs, cheapest) > limit:
            return None
        starts = [self._by_steps(cheapest, limit)]
        if len(self._costs) <= FEW_SETS:
            starts.append(self._by_grid(cheapest, limit))
        best = min((self._improved(picks, limit) for picks in starts), key=lambda found: found.value)
        for rival in self._rivals:
            if self._total(self._values, rival) < best.value and self._total(self._costs, rival) <= limit:
                best = self._improved(rival, limit)
        return best

    def frontier(self) -> list[Allocation]:
        """Every allocation that Lagrange's way passes, from the cheapest to the one of least value."""
        picks = [held[0] for held in self._hulls]
        passed = [self._allocation(picks)]
        cost, value = passed[0].cost, passed[0].value
        for step in self._steps:
            picks[step.choice] = step.after
            cost, value = cost + step.cost, value + step.value
            passed.append(Allocation(tuple(picks), cost, max(0.0, value)))
        return passed

    def allocation(self, picks: Sequence[int]) -> Allocation:
        """The totals of a choice made elsewhere."""
        return self._allocation(picks)

    def _by_steps(self, cheapest: Sequence[int], limit: float) -> list[int]:
        picks = list(cheapest)
        left = limit - self._total(self._costs, picks)
        for step in self._steps:
            # A set whose step did not fit takes none of its later ones: they begin where that one ends.
            if step.cost <= left and picks[step.choice] == step.before:
                picks[step.choice] = step.after
                left -= step.cost
        return picks

    def _by_grid(self, cheapest: Sequence[int], limit: float) -> list[int]:
        """Dynamic programming: the least value of the first sets for each number of grid steps spent.

        Exact where the costs have a common measure that is coarse enough for a grid. Elsewhere costs are
        rounded down, and the most steps whose true cost fits are taken; rounding up would shut out plans that
        use up the limit, such as one scheme for all.
        """
        room = limit - self._total(self._costs, cheapest)
        most = sum(float(row.max() - row[pick]) for row, pick in zip(self._costs, cheapest, strict=True))
        room = min(room, most)
        if room <= 0:
            return list(cheapest)
        measure = self._measure()
        width = measure if measure and room / measure <= EXACT_GRID else room / GRID
        grid = math.floor(room / width + SLACK)
        least = np.zeros(grid + 1)
        chosen = []
        for cost, value, pick in zip(self._costs, self._values, cheapest, strict=True):
            spent = np.maximum(0, np.floor((cost - cost[pick]) / width + SLACK)).astype(np.int64)
            table = np.full((len(cost), grid + 1), np.inf)
            for index, (at, worth) in enumerate(zip(spent.tolist(), value.tolist(), strict=True)):
                if at <= grid:
                    table[index, at:] = least[: grid + 1 - at] + worth
            best = table.argmin(axis=0)
            chosen.append((best, spent))
            least = table[best, np.arange(grid + 1)]
        for steps in range(grid, -1, -1):
            picks = _walked_back(chosen, steps)
            if self._total(self._costs, picks) <= limit:
                return picks
        return list(cheapest)

    def _measure(self) -> int:
        """The largest number of which all differences of costs are multiples; 0 for costs that are no whole
        numbers.
        """
        if not all(float(cost).is_integer() for row in self._costs for cost in row):
            return 0
        return math.gcd(*(int(cost - row[0]) for row in self._costs for cost in row))

    def _all_steps(self) -> list[Step]:
        return [
            Step(
                index,
                before,
                after,
                float(self._costs[index][after] - self._costs[index][before]),
                float(self._values[index][after] - self._values[index][before]),
            )
            for index, held in enumerate(self._hulls)
            for before, after in pairwise(held)
        ]

    def _allocation(self, picks: Sequence[int]) -> Allocation:
        return Allocation(tuple(picks), self._total(self._costs, picks), self._total(self._values, picks))

    @staticmethod
    def _total(rows: Sequence[Numbers], picks: Sequence[int]) -> float:
        return float(sum(row[pick] for row, pick in zip(rows, picks, strict=True)))

    def _improved(self, start: Sequence[int], limit: float) -> Allocation:
        picks = list(start)
        self._improve(picks, limit - self._total(self._costs, picks))
        return self._allocation(picks)

    def _improve(self, picks: list[int], left: float) -> None:
        for _ in range(MOST_MOVES):
            owners, candidates, cost, value = self._changes(picks)
            move = _best_single(cost, value, left)
            if move is None and len(cost) <= PAIRED_CHANGES:
                move = _best_pair(owners, cost, value, left)
            if move is None:
                return
            for change in move:
                picks[owners[change]] = int(candidates[change])
                left -= float(cost[change])

    def _changes(self, picks: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64], Numbers, Numbers]:
        """Every change of one set: whose, to which candidate, what it costs more, what value it adds."""
        owners = np.concatenate([np.full(len(row), index) for index, row in enumerate(self._costs)])
        candidates = np.concatenate([np.arange(len(row)) for row in self._costs])
        rows = zip(self._costs, self._values, picks, strict=True)
        changes = [(cost - cost[pick], value - value[pick]) for cost, value, pick in rows]
        cost = np.concatenate([more for more, _ in changes])
        value = np.concatenate([less for _, less in changes])
        real = candidates != np.asarray(picks)[owners]
        return owners[real], candidates[real], cost[real], value[real]


def _walked_back(chosen: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], steps: int) -> list[int]:
    """The candidates that dynamic programming took for so many steps."""
    picks: list[int] = []
    for best, spent in reversed(chosen):
        picks.append(int(best[steps]))
        steps -= int(spent[picks[-1]])
    return picks[::-1]


def hull(costs: Numbers, values: Numbers) -> list[int]:
    """Candidates on the lower left convex hull, by rising cost and falling value."""
    order = np.lexsort((values, costs))
    kept: list[int] = []
    for index in map(int, order):
        if kept and values[index] >= values[kept[-1]]:
            continue
        while len(kept) > 1 and _slope(costs, values, kept[-2], index) <= _slope(
            costs, values, kept[-2], kept[-1]
        ):
            kept.pop()
        kept.append(index)
    return kept


def _slope(costs: Numbers, values: Numbers, first: int, second: int) -> float:
    return float((values[second] - values[first]) / (costs[second] - costs[first]))


def _best_single(cost: Numbers, value: Numbers, left: float) -> tuple[int, ...] | None:
    fitting = np.where(cost <= left, value, np.inf)
    best = int(fitting.argmin()) if len(fitting) else 0
    return (best,) if len(fitting) and fitting[best] < 0 else None


def _best_pair(
    owners: NDArray[np.int64], cost: Numbers, value: Numbers, left: float
) -> tuple[int, ...] | None:
    """Two changes of different sets that fit together; for each, the best partner among all that fit."""
    if not len(cost):
        return None
    order = np.argsort(cost, kind="stable")
    sorted_cost, sorted_value, sorted_owner = cost[order], value[order], owners[order]
    best, other = _two_best(sorted_value, sorted_owner)
    reach = np.searchsorted(sorted_cost, left - cost, side="right") - 1
    possible = reach >= 0
    partner = np.where(possible, best[np.maximum(reach, 0)], -1)
    same = possible & (sorted_owner[np.maximum(partner, 0)] == owners)
    partner = np.where(same, other[np.maximum(reach, 0)], partner)
    total = np.where(partner >= 0, value + sorted_value[np.maximum(partner, 0)], np.inf)
    first = int(total.argmin())
    scale = float(np.abs(value).max())
    return (first, int(order[partner[first]])) if total[first] < -SLACK * scale else None


def _two_best(values: Numbers, owners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each prefix the place of the least value, and that of the least of another owner; -1 for none."""
    best = np.full(len(values), -1)
    other = np.full(len(values), -1)
    first = second = -1
    for index, (value, owner) in enumerate(zip(values.tolist(), owners.tolist(), strict=True)):
        if first < 0 or value < values[first]:
            if first >= 0 and owners[first] != owner:
                second = first
            first = index
        elif owner != owners[first] and (second < 0 or value < values[second]):
            second = index
        best[index], other[index] = first, second
    return best, other
