# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917 — a kernel takes many arguments
"""The ranges of all rungs of the ladder on a GPU, in one pass: Σ absmax² over the groups of each size.

A program walks along one row of `[n, K]`, COLUMNS at a time. The largest magnitudes of groups of 16 are found
in the weights, those of each coarser rung are the larger of two neighbours:

    16 ── 32 ── 64 ── 128 ── 256 ── the row

Magnitudes are compared as the whole numbers that their bits are, so that a NaN is larger than all others and
shows in every sum. Squares are added in float64, row by row: the same in every run.
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import Launch
from quantizer.block_kernel import MAGNITUDE, launch_compiled, no_vector
from quantizer.ladder import CHANNEL, RUNGS

COLUMNS = 2048
WARPS = 4


@triton.jit
def squares(bits):
    """float64 squares of float32 magnitudes, given as their bits."""
    wide = bits.to(tl.float32, bitcast=True).to(tl.float64)
    return wide * wide


@triton.jit
def coarser(bits):
    """The larger of each two neighbours."""
    return tl.max(tl.reshape(bits, (bits.shape[0] // 2, 2)), axis=1)


@triton.jit(do_not_specialize=["k", "scaled", "multiplied"])
def range_kernel(
    rows_ptr,
    factors_ptr,  # float32 [K]
    multipliers_ptr,  # float32 [n]
    sums_ptr,  # float64 [6, n]: groups of 16 … 256, the row
    k,  # 256 divides it
    scaled,  # 0: the factors are 1
    multiplied,  # 0: the multipliers are 1
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0)
    count = tl.num_programs(0)
    start = row.to(tl.int64) * k
    multiplier = tl.full((), 1.0, tl.float32)
    if multiplied != 0:
        multiplier = tl.load(multipliers_ptr + row)
    of_16 = tl.zeros((COLUMNS // 16,), tl.float64)
    of_32 = tl.zeros((COLUMNS // 32,), tl.float64)
    of_64 = tl.zeros((COLUMNS // 64,), tl.float64)
    of_128 = tl.zeros((COLUMNS // 128,), tl.float64)
    of_256 = tl.zeros((COLUMNS // 256,), tl.float64)
    largest = tl.zeros((COLUMNS // 256,), tl.int32)
    for first in range(0, k, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = column < k
        wide = tl.load(rows_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        if scaled != 0:
            wide = wide * tl.load(factors_ptr + column, mask=inside, other=1.0)
        wide = wide * multiplier
        bits = tl.reshape(wide, (COLUMNS // 16, 16)).to(tl.int32, bitcast=True) & MAGNITUDE
        bits = tl.max(bits, axis=1)
        of_16 += squares(bits)
        pairs = coarser(bits)
        of_32 += squares(pairs)
        fours = coarser(pairs)
        of_64 += squares(fours)
        eights = coarser(fours)
        of_128 += squares(eights)
        sixteens = coarser(eights)
        of_256 += squares(sixteens)
        largest = tl.maximum(largest, sixteens)
    tl.store(sums_ptr + row, tl.sum(of_16, axis=0))
    tl.store(sums_ptr + count + row, tl.sum(of_32, axis=0))
    tl.store(sums_ptr + 2 * count + row, tl.sum(of_64, axis=0))
    tl.store(sums_ptr + 3 * count + row, tl.sum(of_128, axis=0))
    tl.store(sums_ptr + 4 * count + row, tl.sum(of_256, axis=0))
    tl.store(sums_ptr + 5 * count + row, squares(tl.max(largest, axis=0)))


@cache
def range_launch() -> Launch:
    """The launch for rows of any length that 256 divides."""
    return Launch(range_kernel, {"COLUMNS": COLUMNS}, {"num_warps": WARPS, "num_stages": 1})


def ranges_on_gpu(rows: Tensor, factors: Tensor | None, multipliers: Tensor | None) -> dict[str, float]:
    """Σ absmax² by group word, finest first, of rows `[n, K]` in bfloat16, float16 or float32, n at least 1.

    256 divides K. Columns are multiplied by `factors`, float32 `[K]`, rows by `multipliers`, float32 `[n]`.
    Waits for the GPU.
    """
    n, k = rows.shape
    rows = rows.contiguous()
    words = (*map(str, reversed(RUNGS)), CHANNEL)
    sums = rows.new_empty((len(words), n), dtype=torch.float64)
    nothing = no_vector(rows.device)
    given = [nothing if vector is None else vector for vector in (factors, multipliers)]
    flags = [int(vector is not None) for vector in (factors, multipliers)]
    tensors = (rows, *given, sums)
    launch_compiled(range_launch(), (n, 1, 1), tensors, k, *flags)
    return dict(zip(words, sums.sum(dim=1).tolist(), strict=True))
