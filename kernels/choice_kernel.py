# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0124, PLR0912, PLR0915, PLR0917, SIM102 — a NaN is unequal to itself; a kernel takes many
# arguments
"""The choice of a token on a GPU: a survey of the vocabulary in slices, then one program a row settles it.

    logits of a row   │ slice │ slice │ … │      each: best score and its token, max, Σ exp(x - max), any NaN
                          └──────┬──────┘
                      settle: the best of all; where filters are on, whether it passes them

The score is log p up to a constant, minus log(noise) where the row is drawn, so the best score of the tokens
that pass is the draw. Whether token c passes top-p takes one walk: Σ exp(x) of the tokens above x[c]. It
mostly does; if not, no token at or below x[c] does, and the best score above x[c] is tried next. The k-th
largest logit is found a byte at a time, from four histograms; nothing is sorted.
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.choice import GREEDY, Filters
from kernels.fragments import launch_next, wait_for_previous
from kernels.launch import Launch
from kernels.step_launch import gpu_here, kinds, on, step_constants, step_options
from kernels.tiles import Gpu

SLICE = 4096  # tokens of a survey's program
WALK = 8192  # tokens of one step of a walk
NO_TOKEN = tl.constexpr(0x7FFFFFFF)


@triton.jit
def shaped_logits(logits_ptr, seen_ptr, at, inside, penalty, temperature, PENALTY: tl.constexpr):
    """Logits from `at` on after penalty and temperature, float32; -inf outside and for NaN."""
    x = tl.load(logits_ptr + at, mask=inside, other=float("-inf")).to(tl.float32)
    x = tl.where(x == x, x, float("-inf"))
    if PENALTY:
        seen = tl.load(seen_ptr + at, mask=inside, other=0)
        x = tl.where(seen != 0, tl.where(x > 0, x / penalty, x * penalty), x)
    return x / temperature


@triton.jit
def scores_of(x, noise_ptr, at, inside, drawn, DRAWN: tl.constexpr):
    """What the largest of is taken: x, and x - log(noise) where `drawn` is 1."""
    if DRAWN:
        x -= tl.log(tl.load(noise_ptr + at, mask=inside, other=1.0)) * drawn
    return x


@triton.jit
def key_of(x):
    """float32 → uint32 in the same order."""
    bits = x.to(tl.uint32, bitcast=True)
    return tl.where(bits >> 31 != 0, 0xFFFFFFFF - bits, bits | 0x80000000)


@triton.jit
def value_of(key):
    """`key_of` back."""
    bits = tl.where(key >> 31 != 0, key ^ 0x80000000, 0xFFFFFFFF - key)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def kth_largest(
    logits_ptr, seen_ptr, start, V, k, penalty, temperature, PENALTY: tl.constexpr, BLOCK: tl.constexpr
):
    """The k-th largest shaped logit of a row: its key byte by byte, each from a histogram of that byte."""
    prefix = (start * 0).to(tl.uint32)
    bucket = tl.arange(0, 512)  # 256 … for logits whose key begins otherwise
    for byte in range(4):
        counts = tl.zeros((512,), tl.int32)
        for walk in range(0, V, BLOCK):
            column = walk + tl.arange(0, BLOCK)
            inside = column < V
            x = shaped_logits(logits_ptr, seen_ptr, start + column, inside, penalty, temperature, PENALTY)
            key = key_of(x)
            key = key >> (24 - 8 * byte)
            same = inside & (key >> 8 == prefix)
            counts += tl.histogram(tl.where(same, (key & 255).to(tl.int32), 511), 512)
        counts = tl.where(bucket < 256, counts, 0)
        best = tl.max(tl.where(tl.cumsum(counts, 0, reverse=True) >= k, bucket, 0), 0)
        k -= tl.sum(tl.where(bucket > best, counts, 0), 0)
        prefix = (prefix << 8) | best.to(tl.uint32)
    return value_of(prefix)


@triton.jit(do_not_specialize=["V"])
def survey_kernel(
    logits_ptr,
    noise_ptr,
    seen_ptr,
    temperature_ptr,
    penalty_ptr,
    floats_ptr,
    ints_ptr,
    V,
    BLOCK: tl.constexpr,
    DRAWN: tl.constexpr,
    PENALTY: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """floats[row, slice] = (best score, max, Σ exp(x - max)), ints[row, slice] = (its token, NaN there)."""
    part = tl.program_id(0)
    launch_next(part, PDL)
    row = tl.program_id(1).to(tl.int64) + wait_for_previous(part, PDL)
    temperature = 1.0
    drawn = 0.0
    if DRAWN:
        given = tl.load(temperature_ptr + row)
        drawn = tl.where(given > 0, 1.0, 0.0)
        temperature = tl.where(given > 0, given, 1.0)
    penalty = 1.0
    if PENALTY:
        penalty = tl.load(penalty_ptr + row)
    token = part * BLOCK + tl.arange(0, BLOCK)
    inside = token < V
    at = row * V + token
    raw = tl.load(logits_ptr + at, mask=inside, other=0.0).to(tl.float32)
    bad = tl.max((raw != raw).to(tl.int32), 0)
    x = shaped_logits(logits_ptr, seen_ptr, at, inside, penalty, temperature, PENALTY)
    score = scores_of(x, noise_ptr, at, inside, drawn, DRAWN)
    best = tl.max(score, 0)
    chosen = tl.min(tl.where(inside & (score == best), token, NO_TOKEN), 0)
    highest = tl.max(x, 0)
    total = tl.sum(tl.where(x > float("-inf"), tl.exp(x - highest), 0.0), 0)
    place = row * tl.num_programs(0) + part
    tl.store(floats_ptr + place * 3, best)
    tl.store(floats_ptr + place * 3 + 1, highest)
    tl.store(floats_ptr + place * 3 + 2, total)
    tl.store(ints_ptr + place * 2, chosen)
    tl.store(ints_ptr + place * 2 + 1, bad)


@triton.jit(do_not_specialize=["V", "slices"])
def settle_kernel(
    logits_ptr,
    noise_ptr,
    seen_ptr,
    temperature_ptr,
    penalty_ptr,
    top_k_ptr,
    top_p_ptr,
    min_p_ptr,
    floats_ptr,
    ints_ptr,
    tokens_ptr,
    bad_ptr,
    V,
    slices,
    MOST: tl.constexpr,  # power of two, at least the slices
    BLOCK: tl.constexpr,
    DRAWN: tl.constexpr,
    PENALTY: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP_P: tl.constexpr,
    MIN_P: tl.constexpr,
    MARK: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """tokens[row], bad[row]."""
    row = tl.program_id(0)
    launch_next(row, PDL)
    row = row.to(tl.int64) + wait_for_previous(row, PDL)
    part = tl.arange(0, MOST)
    there = part < slices
    place = row * slices + part
    scores = tl.load(floats_ptr + place * 3, mask=there, other=float("-inf"))
    highs = tl.load(floats_ptr + place * 3 + 1, mask=there, other=float("-inf"))
    totals = tl.load(floats_ptr + place * 3 + 2, mask=there, other=0.0)
    firsts = tl.load(ints_ptr + place * 2, mask=there, other=NO_TOKEN)
    bad = tl.max(tl.load(ints_ptr + place * 2 + 1, mask=there, other=0), 0)
    token = tl.min(tl.where(scores == tl.max(scores, 0), firsts, NO_TOKEN), 0)
    token = tl.where(token < V, token, 0)  # nothing but NaN
    highest = tl.max(highs, 0)
    total = tl.sum(tl.where(totals > 0, totals * tl.exp(highs - highest), 0.0), 0)
    if TOP_K or TOP_P or MIN_P:
        given = tl.load(temperature_ptr + row)
        drawn = (given > 0) & (bad == 0) & (highest > float("-inf"))
        temperature = tl.where(given > 0, given, 1.0)
        penalty = 1.0
        if PENALTY:
            penalty = tl.load(penalty_ptr + row)
        start = row * V
        least = float("-inf")  # of a logit that stays
        if TOP_K:
            k = tl.load(top_k_ptr + row)
            if drawn & (k > 0) & (k < V):
                least = kth_largest(logits_ptr, seen_ptr, start, V, k, penalty, temperature, PENALTY, BLOCK)
        if MIN_P:
            min_p = tl.load(min_p_ptr + row)
        top_p = 1.0
        if TOP_P:
            top_p = tl.load(top_p_ptr + row)
        if TOP_P and TOP_K:
            if drawn & (top_p < 1) & (least > float("-inf")):  # of what top-k left
                total = 0.0
                for walk in range(0, V, BLOCK):
                    column = walk + tl.arange(0, BLOCK)
                    inside = column < V
                    x = shaped_logits(
                        logits_ptr, seen_ptr, start + column, inside, penalty, temperature, PENALTY
                    )
                    total += tl.sum(tl.where(inside & (x >= least), tl.exp(x - highest), 0.0), 0)
        everything = start >= 0
        x_token = shaped_logits(
            logits_ptr, seen_ptr, start + token, everything, penalty, temperature, PENALTY
        )
        above = float("-inf")  # only tokens above it are still tried
        stays = x_token >= least
        if MIN_P:
            stays = stays & (tl.exp(x_token - highest) >= min_p)
        trying = drawn
        while trying:
            if stays == 0:
                best = float("-inf")
                token = NO_TOKEN
                x_token = float("-inf")
                for walk in range(0, V, BLOCK):
                    column = walk + tl.arange(0, BLOCK)
                    inside = column < V
                    at = start + column
                    x = shaped_logits(logits_ptr, seen_ptr, at, inside, penalty, temperature, PENALTY)
                    stay = inside & (x >= least) & (x > above)
                    if MIN_P:
                        stay = stay & (tl.exp(x - highest) >= min_p)
                    score = tl.where(stay, scores_of(x, noise_ptr, at, inside, 1.0, DRAWN), float("-inf"))
                    best_here = tl.max(score, 0)
                    first = tl.min(tl.where(stay & (score == best_here), column, NO_TOKEN), 0)
                    x_first = tl.max(tl.where(column == first, x, float("-inf")), 0)
                    if best_here > best:
                        best = best_here
                        token = first
                        x_token = x_first
            trying = (top_p < 1) & (x_token < highest)
            if trying:
                mass = 0.0
                for walk in range(0, V, BLOCK):
                    column = walk + tl.arange(0, BLOCK)
                    inside = column < V
                    x = shaped_logits(
                        logits_ptr, seen_ptr, start + column, inside, penalty, temperature, PENALTY
                    )
                    mass += tl.sum(tl.where(x > x_token, tl.exp(x - highest), 0.0), 0)
                trying = mass >= top_p * total
                stays = trying == 0
                above = x_token
    tl.store(tokens_ptr + row, token.to(tl.int64))
    tl.store(bad_ptr + row, bad.to(tl.uint8))
    if MARK:
        tl.store(seen_ptr + row * V + token, (bad * 0 + 1).to(tl.uint8))


@cache
def survey_launch(gpu: Gpu, *, drawn: bool, penalty: bool, block: int = SLICE) -> Launch:
    """The first pass."""
    constants = {"BLOCK": block, "DRAWN": drawn, "PENALTY": penalty}
    return Launch(survey_kernel, constants | step_constants(gpu), step_options(gpu, 8))


@cache
def settle_launch(
    gpu: Gpu, most: int, *, drawn: bool, penalty: bool, top_k: bool, top_p: bool, min_p: bool, mark: bool,
    block: int = WALK,
) -> Launch:  # fmt: skip
    """The second, for so many slices."""
    constants = {
        "MOST": most, "BLOCK": block, "DRAWN": drawn, "PENALTY": penalty, "TOP_K": top_k, "TOP_P": top_p,
        "MIN_P": min_p, "MARK": mark,
    }  # fmt: skip
    warps = 16 if top_k or top_p or min_p else 1
    return Launch(settle_kernel, constants | step_constants(gpu), step_options(gpu, warps))


def choose_on_gpu(
    logits: Tensor, filters: Filters = GREEDY, noise: Tensor | None = None, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`kernels.choose` on the current stream."""
    gpu = gpu_here(logits.device)
    logits = logits.contiguous()
    rows, vocabulary = logits.shape
    slices = -(-vocabulary // SLICE)
    floats = logits.new_empty((rows, slices, 3), dtype=torch.float32)
    ints = logits.new_empty((rows, slices, 2), dtype=torch.int32)
    tokens = logits.new_empty(rows, dtype=torch.int64)
    bad = logits.new_empty(rows, dtype=torch.bool)
    drawn = filters.temperature is not None
    common = {"drawn": drawn, "penalty": filters.penalty is not None}
    settle = settle_launch(
        gpu, triton.next_power_of_2(slices), **common, top_k=drawn and filters.top_k is not None,
        top_p=drawn and filters.top_p is not None, min_p=drawn and filters.min_p is not None,
        mark=seen is not None,
    )  # fmt: skip
    noise = None if noise is None else noise.contiguous()
    kind = kinds(
        logits, noise, seen, filters.temperature, filters.penalty, filters.top_k, filters.top_p, filters.min_p
    )
    with on(logits):
        survey_launch(gpu, **common)(
            (slices, rows, 1), kind,
            logits, noise, seen, filters.temperature, filters.penalty, floats, ints, vocabulary,
        )  # fmt: skip
        settle(
            (rows, 1, 1), kind,
            logits, noise, seen, filters.temperature, filters.penalty, filters.top_k, filters.top_p,
            filters.min_p, floats, ints, tokens, bad.view(torch.uint8), vocabulary, slices,
        )  # fmt: skip
    return tokens, bad
