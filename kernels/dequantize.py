# mypy: allow-untyped-defs, allow-incomplete-defs
# ruff: noqa: PLR0917 — Triton compiles one branch of an `if` and takes many arguments
"""Packed rows → 16-bit rows, for long prompts: unpack once, then let the vendor's matmul run.

    out[i, k] = round(code[first + i, k] * scale[first + i, k // group])          [rows, K]

One program writes BLOCK neighbours of one row. Each thread computes the place of its own code, so all bit
widths share the kernel; neighbours read the same word and the cache answers. Writing the 16-bit rows is what
takes time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.accumulate import round_to
from kernels.packed_matrix import PackedMatrix

BLOCK = 1024


@triton.jit(do_not_specialize=["first_row"])
def dequantize_kernel(
    codes_ptr,
    scales_ptr,
    out_ptr,
    first_row,
    K,
    stride_codes,
    stride_scales,
    stride_group,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    out_row = tl.program_id(0).to(tl.int64)  # the first axis may be longer than 65535
    row = first_row + out_row
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = k < K
    word = k * BITS // 32
    bit = (k * BITS % 32).to(tl.uint32)
    codes = codes_ptr + row * stride_codes + word
    stored = tl.load(codes, mask=inside, other=0).to(tl.uint32, bitcast=True) >> bit
    if BITS == 3:  # a code may go on in the next word
        crosses = inside & (bit > 29)
        rest = tl.load(codes + 1, mask=crosses, other=0).to(tl.uint32, bitcast=True)
        stored |= tl.where(crosses, rest << ((32 - bit) % 32), 0)
    code = (stored & (2**BITS - 1)).to(tl.int32) - 2 ** (BITS - 1)
    group = k * 0 if GROUP == 0 else k // GROUP
    scale = tl.load(scales_ptr + row * stride_scales + group * stride_group, mask=inside, other=0.0)
    weight = code.to(tl.float32) * scale.to(tl.float32)
    tl.store(out_ptr + out_row * K + k, round_to(weight, out_ptr.dtype.element_ty, INTERPRET), mask=inside)


def dequantize_rows(w: PackedMatrix, out: Tensor, first_row: int = 0) -> Tensor:
    """Rows of `w` `[N, K]` from `first_row` into `out` `[rows, K]`, 16-bit, contiguous, on a CUDA device."""
    dequantize_kernel[(out.shape[0], triton.cdiv(w.k, BLOCK))](
        w.codes, w.scales, out, first_row, w.k, w.codes.stride(0), w.scales.stride(0), w.scales.stride(1),
        BITS=w.bits, GROUP=w.group_size or 0, BLOCK=BLOCK, INTERPRET=triton.knobs.runtime.interpret,
    )  # fmt: skip
    return out


def dequantize_reference(w: PackedMatrix, dtype: torch.dtype) -> Tensor:
    """The same in plain PyTorch."""
    return w.dequantize(dtype)
