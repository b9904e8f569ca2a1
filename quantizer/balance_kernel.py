# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917, SIM102 — Triton compiles one branch of an `if` and takes many arguments
"""What balances a set of channels on a GPU, in two launches and one wait for all its candidates and readers.

Candidate 0 has no factors, each other one those of an exponent. A program makes all the numbers of one:

    channels, σ ── codes of the factors ── what a norm is really divided by ─┬─ factors of the columns
                                                                             └─ weights of their errors

then one for each candidate and each stretch of a row rounds it as `quantizer.block_kernel` does:

    rows ── · column factor ── scale of each group ── code · scale ─┬─ Σ weight · (ŵ - w)²
                                                                    └─ Σ weight · w²

The formulas are those of `quantizer.balancing` and `quantizer.channels`, with powers made of logarithms in
float64. Weights are rounded to the codes of a CPU, and sums of errors are the same in every run. A job asks
for this some hundred times from threads that share one interpreter: launches are what it costs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.dequantize import TRITON_DTYPES
from kernels.fragments import round_to
from kernels.launch import Launch
from quantizer.balancing import EXPONENTS, TINY
from quantizer.block_kernel import WEIGHTS, block_constants, launch_compiled, rounded, stored_scale
from quantizer.channels import FLOOR, OCTAVE, decoded
from quantizer.plan import ChannelSet

WARPS = 8  # a search that also weighs what it found spills with 4
COLUMNS = 1024  # a step of a program that walks along the channels

LARGEST = 127  # code
CANDIDATES = 1 + len(EXPONENTS)
TRIED = tl.constexpr(len(EXPONENTS))
FIRST = tl.constexpr(LARGEST)
ALPHAS = tl.constexpr(EXPONENTS)
A_DOUBLING = tl.constexpr(float(OCTAVE))
LEAST = tl.constexpr(TINY)
LEAST_WEIGHT = tl.constexpr(FLOOR)
TO_WHOLE = tl.constexpr(1.5 * 2.0**52)  # added to a float64 and taken away again, it leaves no bit below 1


@triton.jit
def logarithm(magnitude, sigma, alpha):
    """float64: log2 of a factor s^α · σ^(α-1), of α = 1 that of the magnitude."""
    of_magnitude = tl.log2(tl.maximum(magnitude, LEAST).to(tl.float64))
    return of_magnitude * alpha + tl.log2(sigma.to(tl.float64)) * (alpha - 1.0)


@triton.jit(do_not_specialize=["k", "channels", "head", "repeat", "step", "largest", "of_norm"])
def column_kernel(
    known_ptr,  # [channels]: a norm's weights as stored, or magnitudes
    sigma_ptr,  # float32 [channels]
    decoded_ptr,  # float32 [255]: the factors of all codes from -127
    codes_ptr,  # int8 [candidates, channels]: of the factors; of candidate 0 of the magnitudes
    factors_ptr,  # float32 [candidates, K]
    weights_ptr,  # float32 [candidates, K]
    k,  # columns: the channels, value heads repeated
    channels,
    head,
    repeat,
    step,  # of the codes
    largest,  # code
    of_norm,  # 0: the channels are rows
    offset,
    COLUMNS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    dtype: tl.constexpr = known_ptr.dtype.element_ty
    candidate = tl.program_id(0)
    alpha = tl.full((), 1.0, tl.float64)
    for place in tl.static_range(TRIED):
        alpha = tl.where(candidate == place + 1, ALPHAS[place], alpha)
    total = tl.zeros((COLUMNS,), tl.float64)
    for first in range(0, k, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = column < k
        channel = column // (head * repeat) * head + column % head
        gain = tl.load(known_ptr + channel, mask=inside, other=1.0).to(tl.float32) + offset
        sigma = tl.load(sigma_ptr + channel, mask=inside, other=1.0)
        total += tl.where(inside, logarithm(tl.abs(gain), sigma, alpha), 0.0)
    mean = tl.sum(total, axis=0) / k.to(tl.float64)
    coarse, limit = step.to(tl.float64), largest.to(tl.float64)
    squares = tl.zeros((COLUMNS,), tl.float64)
    for first in range(0, k, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = column < k
        channel = column // (head * repeat) * head + column % head
        gain = tl.load(known_ptr + channel, mask=inside, other=1.0).to(tl.float32) + offset
        sigma = tl.load(sigma_ptr + channel, mask=inside, other=1.0)
        wanted = (logarithm(tl.abs(gain), sigma, alpha) - mean) * A_DOUBLING / coarse
        code = ((wanted + TO_WHOLE) - TO_WHOLE) * coarse
        code = tl.where(code == code, tl.minimum(tl.maximum(code, -limit), limit), 0.0)  # noqa: PLR0124 — NaN
        whole = code.to(tl.int32)
        tl.store(codes_ptr + candidate * channels + channel, whole.to(tl.int8), mask=inside)
        factor = tl.load(decoded_ptr + whole + FIRST, mask=inside, other=1.0)
        if of_norm != 0:
            norm = round_to(tl.div_rn(gain, factor) - offset, dtype, INTERPRET)
            left = norm.to(tl.float32) + offset
            possible = (left != 0.0) & (gain != 0.0) & (tl.abs(left) < float("inf"))
            factor = tl.where(possible, tl.div_rn(gain, tl.where(possible, left, 1.0)), 1.0)
        factor = tl.where(candidate == 0, 1.0, factor)
        tl.store(factors_ptr + candidate * k + column, factor, mask=inside)
        length = tl.div_rn(tl.abs(gain), factor).to(tl.float64)
        squares += tl.where(inside, length * length, 0.0)
    mean = tl.maximum(tl.sum(squares, axis=0) / k.to(tl.float64), 1e-300)
    tl.debug_barrier()
    for first in range(0, k, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = column < k
        channel = column // (head * repeat) * head + column % head
        gain = tl.load(known_ptr + channel, mask=inside, other=1.0).to(tl.float32) + offset
        factor = tl.load(factors_ptr + candidate * k + column, mask=inside, other=1.0)
        length = tl.div_rn(tl.abs(gain), factor).to(tl.float64)
        weight = tl.maximum(length * length / mean, LEAST_WEIGHT).to(tl.float32)
        tl.store(weights_ptr + candidate * k + column, weight, mask=inside)


@triton.jit(do_not_specialize=["k", "parts", "weighing"])
def error_kernel(
    rows_ptr,  # float32 [n, K]
    factors_ptr,  # float32 [candidates, K]
    weights_ptr,  # float32 [candidates, K]
    sums_ptr,  # float64 [3, candidates, n · parts]: Σ weight · (ŵ-w)², Σ weight · w², unlike groups
    k,
    parts,  # programs a row
    weighing,  # 0: the search does not weigh
    STORED: tl.constexpr,  # the scales' dtype
    GROUP: tl.constexpr,
    METHOD: tl.constexpr,
    LARGEST_CODE: tl.constexpr,
    TINY: tl.constexpr,
    HUGE: tl.constexpr,
    STEP: tl.constexpr,
    SQUARES: tl.constexpr,
    PRODUCTS: tl.constexpr,
    WEIGHTS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    COUNT: tl.constexpr = WEIGHTS // GROUP
    program = tl.program_id(0)
    candidate = tl.program_id(1)
    row = program // parts
    group = program % parts * COUNT + tl.arange(0, COUNT)
    column = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    inside = column < k
    wide = tl.load(rows_ptr + row.to(tl.int64) * k + column, mask=inside, other=0.0)
    wide = wide * tl.load(factors_ptr + candidate * k + column, mask=inside, other=1.0)
    weight = tl.load(weights_ptr + candidate * k + column, mask=inside, other=1.0)
    importance = tl.full(wide.shape, 1.0, tl.float32)
    if METHOD == "search":
        if weighing != 0:
            importance = weight
    scale, unlike = stored_scale(
        wide, importance, weighing != 0, STORED, METHOD, LARGEST_CODE, TINY, HUGE, STEP, SQUARES, PRODUCTS,
        INTERPRET,
    )  # fmt: skip
    length = scale[:, None] + tl.zeros_like(wide)
    code = rounded(tl.div_rn(wide, length))
    code = tl.minimum(tl.maximum(code, -LARGEST_CODE - 1.0), LARGEST_CODE + 0.0)
    apart = code * length - wide
    error = tl.sum(apart * apart * weight, axis=1).to(tl.float64)
    whole = tl.sum(wide * wide * weight, axis=1).to(tl.float64)
    programs = tl.num_programs(0)
    beyond = tl.num_programs(1) * programs
    at = sums_ptr + candidate * programs + program
    tl.store(at, tl.sum(error, axis=0))
    tl.store(at + beyond, tl.sum(whole, axis=0))
    tl.store(at + 2 * beyond, tl.sum(unlike.to(tl.int32), axis=0).to(tl.float64))


@cache
def column_launch() -> Launch:
    """The launch for channels of any number."""
    constants = {"COLUMNS": COLUMNS, "INTERPRET": triton.knobs.runtime.interpret}
    return Launch(column_kernel, constants, {"num_warps": WARPS, "num_stages": 1, "enable_fp_fusion": False})


@cache
def error_launch(bits: int, group_size: int, method: str, scale_dtype: torch.dtype) -> Launch:
    """The launch for groups of one size."""
    constants: dict[str, object] = {"STORED": TRITON_DTYPES[scale_dtype]}
    constants |= block_constants(bits, group_size, method, scale_dtype)
    return Launch(error_kernel, constants, {"num_warps": WARPS, "num_stages": 1, "enable_fp_fusion": False})


@cache
def _decoded_on(device: torch.device) -> Tensor:
    """The factors of all codes."""
    return decoded(bytes(code & 0xFF for code in range(-LARGEST, LARGEST + 1))).to(device)


@dataclass(frozen=True)
class Candidates:
    """All candidates of one set, on the GPU; the first has no factors."""

    codes: Tensor  # int8 [candidates, channels] of the factors; of the first, of the magnitudes
    factors: Tensor  # float32 [candidates, K]: what columns are multiplied by
    weights: Tensor  # float32 [candidates, K], of squared errors


def candidates_on_gpu(held: ChannelSet, known: Tensor, sigma: Tensor, step: int) -> Candidates:
    """The candidates of a set whose channels `known` tells: the weights of its norm, bfloat16, float16 or
    float32, or the magnitudes of rows, float32. `sigma`, float32, has a number for each, none of them 0.

    `step` is that of the codes. Does not wait for the GPU.
    """
    channels = len(known)
    k = channels * held.repeat
    codes = known.new_empty((CANDIDATES, channels), dtype=torch.int8)
    factors, weights = known.new_empty((2, CANDIDATES, k), dtype=torch.float32)
    heads, codes_of = (held.head or 1, held.repeat), (step, LARGEST // step * step)
    numbers = (k, channels, *heads, *codes_of, int(not held.of_rows), float(held.offset))
    tensors = (known, sigma, _decoded_on(known.device), codes, factors, weights)
    launch_compiled(column_launch(), (CANDIDATES, 1, 1), tensors, *numbers)
    return Candidates(codes, factors, weights)


def errors_on_gpu(
    rows: Tensor,
    counts: Sequence[int],
    candidates: Candidates,
    bits: int,
    group_size: int,
    method: str,
    scale_dtype: torch.dtype,
    *,
    weighing: bool,
) -> list[float] | None:
    """For each candidate the sum over the readers of Σ weight · (Ŵ - W)² ÷ Σ weight · W².

    The rows, float32 `[n, K]`, are `counts` of each reader; 32 and g divide K. `weighing`: the search weighs
    as the errors are weighed. None where a group is not like weights. Waits for the GPU.
    """
    n, k = rows.shape
    parts = -(-k // WEIGHTS)
    sums = rows.new_empty((3, CANDIDATES, n, parts), dtype=torch.float64)
    tensors = (rows.contiguous(), candidates.factors, candidates.weights, sums)
    launch = error_launch(bits, group_size, method, scale_dtype)
    launch_compiled(launch, (n * parts, CANDIDATES, 1), tensors, k, parts, int(weighing))
    readers = torch.split(sums.sum(dim=3).cpu(), list(counts), dim=2)
    error, whole, unlike = torch.stack([reader.sum(dim=2) for reader in readers], dim=1)
    found = (error / whole.clamp_min(TINY)).sum(dim=0).tolist()
    return None if unlike.any() or not all(map(math.isfinite, found)) else found
