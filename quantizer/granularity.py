"""Measure the ranges that the ladder's rule decides on: one vectorised pass gives every rung."""

import math

import torch
from torch import Tensor

from quantizer.ladder import CHANNEL, RUNGS, RangeProfile, dividing
from quantizer.rounding import check_finite, group_absmax


class RangeMeter:
    """Sums absmax² over the groups of one matrix `[N, K]`, block of rows by block of rows.

    The finest rung that divides K is measured on the weights; every coarser one is the maximum of two
    neighbours.
    """

    def __init__(self, name: str, k: int) -> None:
        self._name = name
        self._k = k
        self._rows = 0
        self._rungs = dividing(RUNGS, (k,))
        self._sums = dict.fromkeys([CHANNEL, *map(str, self._rungs)], 0.0)

    def add(self, rows: Tensor) -> None:
        """Take in `[n, K]` of any float dtype. Raises OperatorError for weights that are not finite."""
        finest = self._rungs[-1] if self._rungs else self._k
        absmax = group_absmax(rows, finest)
        sums = {}
        coarse = absmax
        for rung in reversed(self._rungs):
            if rung != finest:
                coarse = coarse.reshape(coarse.shape[0], -1, 2).amax(dim=-1)
            sums[str(rung)] = _squares(coarse)
        sums[CHANNEL] = _squares(coarse.amax(dim=-1))
        found = torch.stack(list(sums.values())).tolist()  # a GPU is waited for once
        if not all(map(math.isfinite, found)):  # squares of float32 are finite in float64
            check_finite(absmax, self._name)
        self._rows += rows.shape[0]
        for word, value in zip(sums, found, strict=True):
            self._sums[word] += value

    def merge(self, other: "RangeMeter") -> None:
        """Take in what another meter of the same matrix was given."""
        self._rows += other._rows
        for word, value in other._sums.items():
            self._sums[word] += value

    def profile(self) -> RangeProfile:
        """The means over all rows taken in so far."""
        means = {CHANNEL: self._sums[CHANNEL] / self._rows}
        for rung in self._rungs:
            means[str(rung)] = self._sums[str(rung)] / (self._rows * (self._k // rung))
        return RangeProfile(self._k, self._rows, means)


def measure_ranges(matrix: Tensor, name: str = "matrix") -> RangeProfile:
    """The range profile of a whole matrix `[N, K]`."""
    meter = RangeMeter(name, matrix.shape[1])
    meter.add(matrix)
    return meter.profile()


def _squares(absmax: Tensor) -> Tensor:
    return absmax.double().square().sum()
