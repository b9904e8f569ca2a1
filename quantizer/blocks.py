"""One block of rows: weights in, packed codes, stored scales and the error out. The seam between numbers
and files: what rounds lives behind it, what reads, schedules and writes lies before it.
"""

import msgspec
import torch
from torch import Tensor

from kernels.packing import pack_codes
from quantizer.plan import MatrixPlan, Plan
from quantizer.rounding import SCALE_DTYPES, absmax_scales, dequantize, round_to_codes, squared_norms


class Block(msgspec.Struct, frozen=True):
    """`[n, K]` rows of one matrix, quantized."""

    packed: Tensor  # int32 [n, words]
    scales: Tensor  # [n, G] in the plan's scale dtype
    squared_error: float  # ‖W−Ŵ‖²
    squared_norm: float  # ‖W‖²


def quantize_rows(rows: Tensor, matrix: MatrixPlan, plan: Plan, name: str) -> Block:
    """Quantize rows `[n, K]` of any float dtype, on the device where they lie.

    Rows are independent of each other: any cut of a matrix into blocks gives the same codes and scales.
    Raises OperatorError, naming the tensor, for weights that are not finite.
    """
    scheme = matrix.scheme
    wide = rows.to(torch.float32)
    scales = absmax_scales(wide, scheme.bits, scheme.group_size, SCALE_DTYPES[plan.scale_dtype], name)
    codes = round_to_codes(wide, scales, scheme.bits)
    error, norm = squared_norms(wide, dequantize(codes, scales))
    return Block(pack_codes(codes, scheme.bits), scales, error, norm)
