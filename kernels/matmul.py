# mypy: allow-untyped-defs, allow-incomplete-defs
# ruff: noqa: PLR0917 — Triton compiles one branch of an `if` and takes many arguments
"""Fused dequantize + matmul of one matrix.

    out[m, n] = Σ_k x[m, k] * code[n, k] * scale[n, k // group] + bias[n]

x `[M, K]` float16 or bfloat16, codes packed as in the checkpoint, out `[M, N]` in x's dtype, sums in float32.

    grid (N/BN * M/BM, SPLIT)           K ->
                                   ┌────────┬────────┐
    program (n, m, s) owns a  BN   │ part 0 │ part 1 │   of the packed weights, read once for BM rows of x
                                   └────────┴────────┘
    SPLIT 1: writes out directly.  SPLIT > 1: writes its partial sums to partial[s, m, n] in float32 and a
    second kernel adds the parts in the order of s. Nothing is added by atomics, so the result is the same bit
    for bit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.accumulate import accumulate, round_to
from kernels.launch import Launch, kind_of
from kernels.packed_matrix import PackedMatrix
from kernels.tiles import Tile, constants_of, step_of

SUM_BLOCK = 1024


@triton.jit(do_not_specialize=["M", "steps_per_part"])
def matmul_kernel(
    x_ptr,
    codes_ptr,
    scales_ptr,
    bias_ptr,
    out_ptr,
    M,
    stride_x,
    N,
    K,
    row_length,
    stride_codes,
    stride_scales,
    stride_group,
    steps_per_part,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    COLUMNS: tl.constexpr,
    EVEN_K: tl.constexpr,
    PARTIAL: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    m_tiles = tl.cdiv(M, BM)
    # Neighbours in the grid share weights, which then come from L2.
    m = tl.program_id(0) % m_tiles * BM + tl.arange(0, BM)
    n = tl.program_id(0) // m_tiles * BN + tl.arange(0, BN)
    part = tl.program_id(1)
    m_ok = m < M
    n_ok = n < N
    CODES: tl.constexpr = 32 if BITS == 3 else 16 // BITS
    first_step = part * steps_per_part
    last_step = tl.minimum(first_step + steps_per_part, tl.cdiv(K, CODES * COLUMNS))
    acc = accumulate(
        x_ptr + m.to(tl.int64) * stride_x, m_ok, codes_ptr + n.to(tl.int64) * stride_codes,
        scales_ptr + n * stride_scales, n_ok, stride_group, K, row_length, first_step, last_step,
        BITS, GROUP, BM, BN, COLUMNS, EVEN_K, INTERPRET,
    )  # fmt: skip
    inside = n_ok[:, None] & m_ok[None, :]
    place = m.to(tl.int64)[None, :] * N + n[:, None]
    if PARTIAL:
        tl.store(out_ptr + part.to(tl.int64) * M * N + place, acc, mask=inside)
    else:
        if HAS_BIAS:
            acc += tl.load(bias_ptr + n, mask=n_ok, other=0.0).to(tl.float32)[:, None]
        tl.store(out_ptr + place, round_to(acc, out_ptr.dtype.element_ty, INTERPRET), mask=inside)


@triton.jit(do_not_specialize=["size", "parts"])
def sum_parts_kernel(
    partial_ptr, bias_ptr, out_ptr, N, size, parts,
    HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr, INTERPRET: tl.constexpr,
):  # fmt: skip
    """out = Σ_s partial[s] + bias, in the order of s."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    acc = tl.zeros((BLOCK,), tl.float32)
    for part in range(parts):
        acc += tl.load(partial_ptr + part * size + i, mask=inside, other=0.0)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + i % N, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + i, round_to(acc, out_ptr.dtype.element_ty, INTERPRET), mask=inside)


def units_of(codes: Tensor, bits: int) -> Tensor:
    """The packed words as the kernel reads them: int16 units for 8 and 4 bits, whole words for 3."""
    return codes if bits == 3 else codes.view(torch.int16)


class MatmulPlan:
    """Everything of a launch that one matrix `[N, K]` and one tile decide, so that a call decides nothing.

    Holds views of the matrix's tensors, no memory of its own.
    """

    def __init__(self, w: PackedMatrix, tile: Tile) -> None:
        units = units_of(w.codes, w.bits)
        steps = triton.cdiv(w.k, step_of(w.bits, tile.columns))
        per_part = triton.cdiv(steps, tile.split)
        self.n = w.n
        self.rows = tile.rows
        self.n_tiles = triton.cdiv(w.n, tile.outputs)
        self.parts = triton.cdiv(steps, per_part)
        self.units = units
        self.scales = w.scales
        self.sizes = (w.n, w.k, units.shape[-1], units.stride(0), *w.scales.stride(), per_part)
        interpret = triton.knobs.runtime.interpret
        options = {"num_warps": tile.warps, "num_stages": tile.stages}
        constants = constants_of(w.bits, w.group_size, w.k, tile) | {"PARTIAL": int(self.parts > 1)}
        self.launches = {
            has_bias: Launch(
                matmul_kernel, constants | {"HAS_BIAS": has_bias, "INTERPRET": interpret}, options
            )
            for has_bias in (False, True)
        }
        self.sums = {
            has_bias: Launch(
                sum_parts_kernel, {"HAS_BIAS": has_bias, "BLOCK": SUM_BLOCK, "INTERPRET": interpret}, {}
            )
            for has_bias in (False, True)
        }

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x `[M, K]` with contiguous rows → `[M, N]`, on the matrix's device, the current one; M ≥ 1."""
        m = x.shape[0]
        out = x.new_empty((m, self.n))
        target = out if self.parts == 1 else x.new_empty((self.parts, m, self.n), dtype=torch.float32)
        of_bias = kind_of(bias)
        self.launches[bias is not None](
            (self.n_tiles * -(-m // self.rows), self.parts, 1),
            (kind_of(x), of_bias),
            x, self.units, self.scales, bias, target, m, x.stride(0), *self.sizes,
        )  # fmt: skip
        if self.parts > 1:
            size = m * self.n
            self.sums[bias is not None](
                (-(-size // SUM_BLOCK), 1, 1),
                (x.dtype, of_bias),
                target, bias, out, self.n, size, self.parts,
            )  # fmt: skip
        return out


def matmul(x: Tensor, w: PackedMatrix, bias: Tensor | None, tile: Tile) -> Tensor:
    """x `[M, K]` with contiguous rows times `w` `[N, K]` → `[M, N]`, all on one CUDA device; M ≥ 1."""
    return MatmulPlan(w, tile).multiply(x, bias)


def matmul_reference(x: Tensor, w: PackedMatrix, bias: Tensor | None) -> Tensor:
    """The same in plain PyTorch and float64 `[M, N]`: what every kernel is measured against."""
    out = x.double() @ w.dequantize(torch.float64).mT
    return out if bias is None else out + bias.double()
