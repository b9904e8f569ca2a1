"""One block of rows: weights in, packed codes, stored scales and the error out. The seam between numbers
and files: what rounds lives behind it, what reads, schedules and writes lies before it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.device import runs_triton
from kernels.packing import pack_in_range
from quantizer.channels import PLAIN, Columns
from quantizer.device import block_rows
from quantizer.methods import Methods
from quantizer.plan import MatrixPlan, Plan
from quantizer.rounding import (
    SCALE_DTYPES,
    absmax_scales,
    dequantize,
    round_in_place,
    round_to_codes,
    signed_scales,
)
from quantizer.scale_search import searched_scales
from quantizer.scheme import Scheme, words_per_row

# What `quantizer.block_kernel` is written for.
KERNEL_GROUPS = (16, 32, 64, 128)
KERNEL_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
WHOLE_WORDS = 32  # weights that fill whole words at all bits
LARGEST_BLOCK = 1 << 31


@dataclass(frozen=True)
class Block:
    """`[n, K]` rows of one matrix, quantized."""

    packed: Tensor  # int32 [n, words]
    scales: Tensor  # [n, G] in the plan's scale dtype
    squared_error: float  # ‖W−Ŵ‖²
    squared_norm: float  # ‖W‖²


def quantize_rows(
    rows: Tensor, matrix: MatrixPlan, plan: Plan, name: str, *, columns: Columns = PLAIN, first_row: int = 0
) -> Block:
    """Quantize rows `[n, K]` of any float dtype, from `first_row` of their matrix, on the device where they
    lie.

    `columns` lie on the same device. The error is that of the rows as prepared by them.

    Rows are independent of each other: any cut of a matrix into blocks gives the same codes and scales.
    Inside, a few rows are worked on at a time, so that what is made of them stays in the caches. Raises
    OperatorError, naming the tensor, for weights that are not finite.
    """
    scheme, scale_dtype = matrix.scheme, SCALE_DTYPES[plan.scale_dtype]
    count, k = rows.shape
    if takes_kernel(rows, scheme, plan.methods):
        block = _on_gpu(rows, scheme, plan, columns, first_row)
        if block is not None:
            return block
    packed = rows.new_empty((count, words_per_row(k, scheme.bits)), dtype=torch.int32)
    scales = rows.new_empty((count, scheme.groups(k)), dtype=scale_dtype)
    sums = torch.zeros(2, dtype=torch.float64, device=rows.device)
    step = block_rows(rows.device, k)
    for first in range(0, count, step):
        part = slice(first, first + step)
        wide = columns.prepared(rows[part], first_row + first)
        narrow = rows[part] if columns is PLAIN and plan.methods.scales == "absmax" else wide
        scales[part] = find_scales(narrow, matrix, plan, name, columns.importance)
        norms = torch.linalg.vector_norm(wide.view(wide.shape[0], -1, k // scales.shape[1]), dim=-1)
        codes, errors = round_in_place(wide, scales[part], scheme.bits)
        sums += torch.stack((errors.double().square().sum(), norms.double().square().sum()))
        packed[part] = pack_in_range(codes, scheme.bits)
    error, norm = sums.tolist()
    return Block(packed, scales, error, norm)


def find_scales(rows: Tensor, matrix: MatrixPlan, plan: Plan, name: str, importance: Tensor | None) -> Tensor:
    """Scales `[n, G]` of prepared rows `[n, K]` by the plan's method; float32, or for absmax any float dtype.

    Raises OperatorError, naming the tensor, for weights that are not finite.
    """
    scheme, methods, dtype = matrix.scheme, plan.methods, SCALE_DTYPES[plan.scale_dtype]
    if takes_kernel(rows, scheme, methods):
        scales = _scales_on_gpu(rows, scheme, plan, importance)
        if scales is not None:
            return scales
    if methods.scales == "absmax":
        return absmax_scales(rows, scheme.bits, scheme.group_size, dtype, name)
    if methods.scales == "signed":
        return signed_scales(rows, scheme.bits, scheme.group_size, dtype, name)
    return searched_scales(
        rows, scheme.bits, scheme.group_size, dtype, name, importance=importance, power=methods.power
    )


def rounded(rows: Tensor, matrix: MatrixPlan, plan: Plan, name: str, importance: Tensor | None) -> Tensor:
    """float32 `[n, K]`: what prepared float32 rows become when they are stored and read back."""
    scales = find_scales(rows, matrix, plan, name, importance)
    return dequantize(round_to_codes(rows, scales, matrix.scheme.bits), scales)


def takes_kernel(rows: Tensor, scheme: Scheme, methods: Methods) -> bool:
    """Whether the kernel that does all in one pass takes rows `[n, K]`: others go the plain way."""
    count, k = rows.shape
    return (
        runs_triton(rows.device)
        and scheme.group_size in KERNEL_GROUPS
        and k % math.lcm(scheme.group_size, WHOLE_WORDS) == 0
        and 0 < count * k < LARGEST_BLOCK
        and rows.dtype in KERNEL_DTYPES
        and (methods.scales != "search" or methods.power == 2)
    )


def _on_gpu(rows: Tensor, scheme: Scheme, plan: Plan, columns: Columns, first_row: int) -> Block | None:
    """None where weights are such that the plain way has to tell."""
    from quantizer.block_kernel import block_on_gpu  # triton is loaded with the first use on a GPU

    multipliers = None if columns.rows is None else columns.rows[first_row : first_row + len(rows)]
    made = block_on_gpu(
        rows,
        scheme.bits,
        scheme.group_size or rows.shape[1],
        plan.methods.scales,
        SCALE_DTYPES[plan.scale_dtype],
        factors=columns.factors,
        multipliers=multipliers,
        importance=columns.importance,
    )
    return None if made is None else Block(*made)


def _scales_on_gpu(rows: Tensor, scheme: Scheme, plan: Plan, importance: Tensor | None) -> Tensor | None:
    """None as `_on_gpu` says."""
    from quantizer.block_kernel import scales_on_gpu

    group_size = scheme.group_size or rows.shape[1]
    dtype = SCALE_DTYPES[plan.scale_dtype]
    return scales_on_gpu(rows, scheme.bits, group_size, plan.methods.scales, dtype, importance=importance)
