# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917, RET505 — Triton compiles one branch of an `if` and takes many arguments
"""Norms on a GPU: a program holds one row of x, all of it in registers.

    x ── (rms · before) ── (+ residual) ─┬──────────────────────────────────────────────────────── sum
                                         └── rms · weight  or  (x - mean) / deviation · weight + bias ─ normed

`kernels.norms` has the formulas and where they round.
"""

from functools import cache

import triton
import triton.language as tl
from torch import Tensor

from kernels.fragments import launch_next, round_to, wait_for_previous
from kernels.launch import Launch
from kernels.norms import NormKind
from kernels.step_launch import gpu_here, kinds, on, step_constants, step_options
from kernels.tiles import Gpu

VALUES_A_THREAD = 16


@triton.jit
def scaled(x, factor, weight, dtype: tl.constexpr, ONCE: tl.constexpr, INTERPRET: tl.constexpr):
    """x * factor * weight, rounded once or after each product; float32 that `dtype` holds."""
    if ONCE:
        return round_to(x * factor * weight, dtype, INTERPRET).to(tl.float32)
    else:
        normed = round_to(x * factor, dtype, INTERPRET).to(tl.float32)
        narrow = round_to(weight, dtype, INTERPRET).to(tl.float32)
        return round_to(normed * narrow, dtype, INTERPRET).to(tl.float32)


@triton.jit
def rms_factor(squares, count, eps):
    """1 / sqrt(mean + eps) of a sum of squares."""
    return 1.0 / tl.sqrt_rn(squares / count + eps)


@triton.jit(do_not_specialize=["eps"])
def norm_kernel(
    x_ptr,
    residual_ptr,
    before_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    sum_ptr,
    eps,
    K: tl.constexpr,
    BLOCK: tl.constexpr,  # power of two, at least K
    BEFORE: tl.constexpr,
    RESIDUAL: tl.constexpr,
    LAYER: tl.constexpr,
    ONCE: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    dtype: tl.constexpr = x_ptr.dtype.element_ty
    row = tl.program_id(0)
    launch_next(row, PDL)
    column = tl.arange(0, BLOCK)
    inside = column < K
    weight = tl.zeros((BLOCK,), tl.float32)
    if WEIGHT:  # no kernel writes it: it is on its way before the one that makes x is through
        weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    start = (row + wait_for_previous(row, PDL)).to(tl.int64) * K
    x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
    if BEFORE:
        before = tl.load(before_ptr + column, mask=inside, other=0.0).to(tl.float32)
        x = scaled(x, rms_factor(tl.sum(x * x, 0), K, eps), before, dtype, ONCE, INTERPRET)
    if RESIDUAL:
        x += tl.load(residual_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        x = round_to(x, dtype, INTERPRET).to(tl.float32)
    if BEFORE or RESIDUAL:
        tl.store(sum_ptr + start + column, x.to(dtype), mask=inside)
    if LAYER:
        x = tl.where(inside, x - tl.sum(x, 0) / K, 0.0)
        out = x * rms_factor(tl.sum(x * x, 0), K, eps)
        if WEIGHT:
            out *= weight
        if BIAS:
            out += tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(out_ptr + start + column, round_to(out, dtype, INTERPRET), mask=inside)
    elif WEIGHT:
        out = scaled(x, rms_factor(tl.sum(x * x, 0), K, eps), weight, dtype, ONCE, INTERPRET)
        tl.store(out_ptr + start + column, out.to(dtype), mask=inside)


@cache
def norm_launch(
    gpu: Gpu, width: int, kind: NormKind, *, weight: bool, bias: bool, residual: bool, before: bool
) -> Launch:
    """The launch for rows of so many features."""
    block = triton.next_power_of_2(width)
    constants = {
        "K": width, "BLOCK": block, "BEFORE": before, "RESIDUAL": residual, "LAYER": kind == "layer",
        "ONCE": kind == "rms_once", "WEIGHT": weight, "BIAS": bias,
    }  # fmt: skip
    warps = min(16, max(1, block // (32 * VALUES_A_THREAD)))
    return Launch(norm_kernel, constants | step_constants(gpu), step_options(gpu, warps))


def norm_on_gpu(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None = None,
    *,
    eps: float,
    kind: NormKind = "rms",
    residual: Tensor | None = None,
    before: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`kernels.norm` on the current stream."""
    x = x.contiguous()
    width = x.shape[-1]
    residual = None if residual is None else residual.contiguous()
    total = x if residual is None and before is None else x.new_empty(x.shape)
    normed = total if weight is None and kind != "layer" else x.new_empty(x.shape)
    if not x.numel():
        return normed, total
    launch = norm_launch(
        gpu_here(x.device), width, kind, weight=weight is not None, bias=bias is not None,
        residual=residual is not None, before=before is not None,
    )  # fmt: skip
    with on(x):
        launch(
            (x.numel() // width, 1, 1), kinds(x, residual, before, weight, bias, normed, total),
            x, residual, before, weight, bias, normed, total, float(eps),
        )  # fmt: skip
    return normed, total
