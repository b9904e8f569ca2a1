"""Measure the ranges that the ladder's rule decides on: one vectorised pass gives every rung."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from kernels.device import runs_triton
from quantizer.blocks import KERNEL_DTYPES
from quantizer.channels import PLAIN, Columns
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

    def add(self, rows: Tensor, columns: Columns = PLAIN, first: int = 0) -> None:
        """Take in `[n, K]` of any float dtype, rows `first` to `first + n` of the matrix that `columns`
        prepare, on their device. Raises OperatorError for weights that are not finite.
        """
        if columns.factors is None:  # then the rows' own do not count: all groups of a row change alike
            columns = PLAIN
        found = self._sums_on_gpu(rows, columns, first) if self._takes_kernel(rows) else None
        if found is None or not _finite(found):
            wide = rows if columns is PLAIN else columns.prepared(rows, first)
            absmax = group_absmax(wide, self._rungs[-1] if self._rungs else self._k)
            found = self._sums_of(absmax)
            if not _finite(found):  # squares of float32 are finite in float64
                check_finite(absmax, self._name)
        self._rows += rows.shape[0]
        for word, value in found.items():
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

    def _takes_kernel(self, rows: Tensor) -> bool:
        return self._rungs == RUNGS and rows.dtype in KERNEL_DTYPES and runs_triton(rows.device)

    def _sums_on_gpu(self, rows: Tensor, columns: Columns, first: int) -> dict[str, float]:
        from quantizer.range_kernel import ranges_on_gpu  # triton is loaded with the first use on a GPU

        multipliers = None if columns.rows is None else columns.rows[first : first + len(rows)]
        return ranges_on_gpu(rows, columns.factors, multipliers)

    def _sums_of(self, absmax: Tensor) -> dict[str, float]:
        """Of the ranges of the finest groups, float32 `[n, G]`; a GPU is waited for once."""
        sums = {}
        for rung in reversed(self._rungs):
            if rung != self._rungs[-1]:
                absmax = absmax.reshape(absmax.shape[0], -1, 2).amax(dim=-1)
            sums[str(rung)] = _squares(absmax)
        sums[CHANNEL] = _squares(absmax.amax(dim=-1))
        return dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))


def measure_ranges(matrix: Tensor, name: str = "matrix") -> RangeProfile:
    """The range profile of a whole matrix `[N, K]`."""
    meter = RangeMeter(name, matrix.shape[1])
    meter.add(matrix)
    return meter.profile()


def _finite(sums: Mapping[str, float]) -> bool:
    return all(map(math.isfinite, sums.values()))


def _squares(absmax: Tensor) -> Tensor:
    return absmax.double().square().sum()
