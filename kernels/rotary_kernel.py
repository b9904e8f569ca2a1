# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0912, PLR0915, PLR0917, RET505 — Triton compiles one branch of an `if` and takes many arguments
"""Rotary positions and the write into the cache on a GPU: a program for each head of each token.

    qkv of a token    q heads … │ k heads … │ v heads …            a head's columns, in registers:
                         │            │           │                a [R/2]  b [R/2]  rest [D - R]
                      norm, turn   norm, turn     │                a b are halves or neighbours
                         │            │           │
                      queries     keys[row, head, position mod C], values[…], with int8 their scales

`kernels.rotary` has the formulas.
"""

from functools import cache

import triton
import triton.language as tl
from torch import Tensor

from kernels.fragments import launch_next, round_to, wait_for_previous
from kernels.key_values import KeyValueCache
from kernels.launch import Launch
from kernels.norms import NormKind
from kernels.norms_kernel import rms_factor, scaled
from kernels.step_launch import gpu_here, kinds, on, step_constants, step_options
from kernels.tiles import Gpu


@triton.jit
def code_of(x, scale):
    """x / scale to the nearest integer, halves up, as int8."""
    code = tl.floor(x / scale + 0.5)
    return tl.minimum(tl.maximum(code, -127.0), 127.0).to(tl.int8)


@triton.jit
def turn(a, b, cos_ptr, sin_ptr, at, inside):
    """(a cos - b sin, b cos + a sin), with the angles from `at` on."""
    cos = tl.load(cos_ptr + at, mask=inside, other=0.0)
    sin = tl.load(sin_ptr + at, mask=inside, other=0.0)
    return a * cos - b * sin, b * cos + a * sin


@triton.jit
def columns_of(PAIRS: tl.constexpr, HALF: tl.constexpr, INTERLEAVED: tl.constexpr):
    """Where the a and the b of HALF (PAIRS of them real) pairs stand."""
    pair = tl.arange(0, HALF)
    if INTERLEAVED:
        return 2 * pair, 2 * pair + 1
    else:
        return pair, pair + PAIRS


@triton.jit
def either(q_ptr, k_ptr, at, inside, is_query):
    """A norm's weights: those of the queries or of the keys."""
    of_q = tl.load(q_ptr + at, mask=inside & is_query, other=0.0).to(tl.float32)
    of_k = tl.load(k_ptr + at, mask=inside & (is_query == 0), other=0.0).to(tl.float32)
    return of_q + of_k


@triton.jit
def store_part(x, where, inside, scale, CODED: tl.constexpr, INTERPRET: tl.constexpr):
    """Write x as it is or as codes of `scale`."""
    if CODED:
        tl.store(where, code_of(x, scale), mask=inside)
    else:
        tl.store(where, round_to(x, where.dtype.element_ty, INTERPRET), mask=inside)


@triton.jit
def scale_of(largest):
    """The step that makes `largest` 127; 1/127 for a row of zeros."""
    return tl.where(largest > 0, largest, 1.0) / 127.0


@triton.jit(do_not_specialize=["C", "eps"])
def rotate_kernel(
    qkv_ptr,
    cos_ptr,
    sin_ptr,
    positions_ptr,
    rows_ptr,
    q_norm_ptr,
    k_norm_ptr,
    q_ptr,
    keys_ptr,
    values_ptr,
    key_scales_ptr,
    value_scales_ptr,
    C,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    DV: tl.constexpr,
    PAIRS: tl.constexpr,  # that are turned; 0: none
    HALF: tl.constexpr,  # power of two, at least PAIRS
    REST: tl.constexpr,  # power of two, at least the columns that are not turned; 0: none
    VALUE: tl.constexpr,  # power of two, at least DV
    INTERLEAVED: tl.constexpr,
    NORM: tl.constexpr,
    WHOLE: tl.constexpr,  # over all heads of the token
    ONCE: tl.constexpr,
    CODED: tl.constexpr,
    ROWS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    dtype: tl.constexpr = qkv_ptr.dtype.element_ty
    token = tl.program_id(0)
    part = tl.program_id(1)
    launch_next(token, PDL)
    zero = wait_for_previous(token, PDL)
    position = tl.load(positions_ptr + token + zero).to(tl.int64)
    sequence = token.to(tl.int64)
    if ROWS:
        sequence = tl.load(rows_ptr + token + zero).to(tl.int64)
    stored = position >= 0
    slot = tl.where(stored, position % C, 0)
    source = qkv_ptr + (token + zero).to(tl.int64) * ((HEADS + KV_HEADS) * D + KV_HEADS * DV)
    if part >= HEADS + KV_HEADS:
        head = part - HEADS - KV_HEADS
        column = tl.arange(0, VALUE)
        inside = column < DV
        v = tl.load(source + (HEADS + KV_HEADS) * D + head * DV + column, mask=inside, other=0.0)
        v = v.to(tl.float32)
        place = (sequence * KV_HEADS + head) * C + slot
        scale = scale_of(tl.max(tl.abs(v), 0))
        if CODED:
            tl.store(value_scales_ptr + place, scale, mask=stored)
        store_part(v, values_ptr + place * DV + column, inside & stored, scale, CODED, INTERPRET)
    else:
        is_query = part < HEADS
        head = tl.where(is_query, part, part - HEADS)
        at = part * D
        squares = token * 0.0
        largest = token * 0.0
        a = tl.zeros((HALF,), tl.float32)
        b = tl.zeros((HALF,), tl.float32)
        rest = tl.zeros((REST if REST else 1,), tl.float32)
        a_column, b_column = columns_of(PAIRS, HALF, INTERLEAVED)
        paired = tl.arange(0, HALF) < PAIRS
        rest_column = 2 * PAIRS + tl.arange(0, REST if REST else 1)
        in_rest = rest_column < D
        if PAIRS:
            a = tl.load(source + at + a_column, mask=paired, other=0.0).to(tl.float32)
            b = tl.load(source + at + b_column, mask=paired, other=0.0).to(tl.float32)
        if REST:
            rest = tl.load(source + at + rest_column, mask=in_rest, other=0.0).to(tl.float32)
        if NORM:
            of_head = 0
            count = D
            if WHOLE:
                of_head = head * D
                begin = tl.where(is_query, 0, HEADS * D)
                count = tl.where(is_query, HEADS * D, KV_HEADS * D)
                sums = tl.zeros((1024,), tl.float32)
                for chunk in range(0, count, 1024):  # 1024 columns are squared at a time
                    column = chunk + tl.arange(0, 1024)
                    x = tl.load(source + begin + column, mask=column < count, other=0.0).to(tl.float32)
                    sums += x * x
                squares = tl.sum(sums, 0)
            else:
                squares = tl.sum(a * a, 0) + tl.sum(b * b, 0) + tl.sum(rest * rest, 0)
            factor = rms_factor(squares, count, eps)
            if PAIRS:
                weight = either(q_norm_ptr, k_norm_ptr, of_head + a_column, paired, is_query)
                a = scaled(a, factor, weight, dtype, ONCE, INTERPRET)
                weight = either(q_norm_ptr, k_norm_ptr, of_head + b_column, paired, is_query)
                b = scaled(b, factor, weight, dtype, ONCE, INTERPRET)
            if REST:
                weight = either(q_norm_ptr, k_norm_ptr, of_head + rest_column, in_rest, is_query)
                rest = scaled(rest, factor, weight, dtype, ONCE, INTERPRET)
        if PAIRS:
            angle = tl.maximum(position, 0) * PAIRS + tl.arange(0, HALF)
            a, b = turn(a, b, cos_ptr, sin_ptr, angle, paired)
        if is_query:
            out = q_ptr + (token.to(tl.int64) * HEADS + head) * D
            if PAIRS:
                store_part(a, out + a_column, paired, largest, False, INTERPRET)
                store_part(b, out + b_column, paired, largest, False, INTERPRET)
            if REST:
                store_part(rest, out + rest_column, in_rest, largest, False, INTERPRET)
        else:
            place = (sequence * KV_HEADS + head) * C + slot
            largest = tl.maximum(tl.max(tl.abs(a), 0), tl.max(tl.abs(b), 0))
            scale = scale_of(tl.maximum(largest, tl.max(tl.abs(rest), 0)))
            if CODED:
                tl.store(key_scales_ptr + place, scale, mask=stored)
            key = keys_ptr + place * D
            if PAIRS:
                store_part(a, key + a_column, paired & stored, scale, CODED, INTERPRET)
                store_part(b, key + b_column, paired & stored, scale, CODED, INTERPRET)
            if REST:
                store_part(rest, key + rest_column, in_rest & stored, scale, CODED, INTERPRET)


@triton.jit(do_not_specialize=["C", "eps", "q_token", "q_head", "latent_token", "out_token", "out_head"])
def latent_kernel(
    q_ptr,
    latent_ptr,
    cos_ptr,
    sin_ptr,
    positions_ptr,
    rows_ptr,
    weight_ptr,
    out_ptr,
    keys_ptr,
    key_scales_ptr,
    value_scales_ptr,
    C,
    q_token,
    q_head,
    latent_token,
    out_token,
    out_head,
    eps,
    HEADS: tl.constexpr,
    LATENT: tl.constexpr,
    SHARED: tl.constexpr,  # power of two, at least LATENT
    PAIRS: tl.constexpr,
    HALF: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    NORM: tl.constexpr,
    ONCE: tl.constexpr,
    CODED: tl.constexpr,
    ROWS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """Programs 0 … HEADS - 1 turn a query's columns, program HEADS norms, turns and stores the latent."""
    dtype: tl.constexpr = q_ptr.dtype.element_ty
    token = tl.program_id(0)
    part = tl.program_id(1)
    launch_next(token, PDL)
    index = token.to(tl.int64) + wait_for_previous(token, PDL)
    position = tl.load(positions_ptr + index).to(tl.int64)
    a_column, b_column = columns_of(PAIRS, HALF, INTERLEAVED)
    paired = tl.arange(0, HALF) < PAIRS
    angle = tl.maximum(position, 0) * PAIRS + tl.arange(0, HALF)
    if part < HEADS:
        source = q_ptr + index * q_token + part * q_head
        a = tl.load(source + a_column, mask=paired, other=0.0).to(tl.float32)
        b = tl.load(source + b_column, mask=paired, other=0.0).to(tl.float32)
        a, b = turn(a, b, cos_ptr, sin_ptr, angle, paired)
        out = out_ptr + index * out_token + part * out_head + LATENT
        store_part(a, out + a_column, paired, 0.0, False, INTERPRET)
        store_part(b, out + b_column, paired, 0.0, False, INTERPRET)
    else:
        source = latent_ptr + index * latent_token
        column = tl.arange(0, SHARED)
        inside = column < LATENT
        x = tl.load(source + column, mask=inside, other=0.0).to(tl.float32)
        if NORM:
            weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
            x = scaled(x, rms_factor(tl.sum(x * x, 0), LATENT, eps), weight, dtype, ONCE, INTERPRET)
        a = tl.load(source + LATENT + a_column, mask=paired, other=0.0).to(tl.float32)
        b = tl.load(source + LATENT + b_column, mask=paired, other=0.0).to(tl.float32)
        a, b = turn(a, b, cos_ptr, sin_ptr, angle, paired)
        sequence = index
        if ROWS:
            sequence = tl.load(rows_ptr + index).to(tl.int64)
        stored = position >= 0
        place = sequence * C + tl.where(stored, position % C, 0)
        # Not `out`: Triton has one type for a name, and codes are not of the queries'.
        kept = keys_ptr + place * (LATENT + 2 * PAIRS)
        scale = scale_of(tl.max(tl.abs(x), 0))
        tail_scale = scale_of(tl.maximum(tl.max(tl.abs(a), 0), tl.max(tl.abs(b), 0)))
        if CODED:
            tl.store(value_scales_ptr + place, scale, mask=stored)
            tl.store(key_scales_ptr + place, tail_scale, mask=stored)
        store_part(x, kept + column, inside & stored, scale, CODED, INTERPRET)
        store_part(a, kept + LATENT + a_column, paired & stored, tail_scale, CODED, INTERPRET)
        store_part(b, kept + LATENT + b_column, paired & stored, tail_scale, CODED, INTERPRET)


@cache
def rotate_launch(
    gpu: Gpu, heads: int, kv_heads: int, head_dim: int, value_dim: int, pairs: int, *, interleaved: bool,
    norm: NormKind | None, whole: bool, coded: bool, rows: bool,
) -> Launch:  # fmt: skip
    """The launch for one layer's shape; `norm` None: queries and keys have none."""
    rest = head_dim - 2 * pairs
    constants = {
        "HEADS": heads, "KV_HEADS": kv_heads, "D": head_dim, "DV": value_dim, "PAIRS": pairs,
        "HALF": triton.next_power_of_2(max(1, pairs)), "REST": triton.next_power_of_2(rest) if rest else 0,
        "VALUE": triton.next_power_of_2(value_dim), "INTERLEAVED": interleaved, "NORM": norm is not None,
        "WHOLE": whole, "ONCE": norm == "rms_once", "CODED": coded, "ROWS": rows,
    }  # fmt: skip
    warps = 4 if whole else 1
    return Launch(rotate_kernel, constants | step_constants(gpu), step_options(gpu, warps))


@cache
def latent_launch(
    gpu: Gpu, heads: int, latent: int, pairs: int, *, interleaved: bool, norm: NormKind | None, coded: bool,
    rows: bool,
) -> Launch:  # fmt: skip
    """The launch for one latent layer's shape."""
    constants = {
        "HEADS": heads, "LATENT": latent, "SHARED": triton.next_power_of_2(latent), "PAIRS": pairs,
        "HALF": triton.next_power_of_2(max(1, pairs)), "INTERLEAVED": interleaved, "NORM": norm is not None,
        "ONCE": norm == "rms_once", "CODED": coded, "ROWS": rows,
    }  # fmt: skip
    return Launch(latent_kernel, constants | step_constants(gpu), step_options(gpu, 1))


def rotate_and_store_on_gpu(
    qkv: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    positions: Tensor,
    cache: KeyValueCache,
    *,
    heads: int,
    rows: Tensor | None = None,
    interleaved: bool = False,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 1e-6,
    kind: NormKind = "rms",
) -> Tensor:
    """`kernels.rotate_and_store` on the current stream."""
    kv_heads, capacity, head_dim = cache.keys.shape[1:]
    qkv = qkv.contiguous()
    q = qkv.new_empty((qkv.shape[0], heads, head_dim))
    if not qkv.shape[0]:
        return q
    launch = rotate_launch(
        gpu_here(qkv.device), heads, kv_heads, head_dim, cache.value_dim, 0 if cos is None else cos.shape[1],
        interleaved=interleaved, norm=None if q_norm is None else kind,
        whole=q_norm is not None and q_norm.shape[0] != head_dim, coded=cache.scales is not None,
        rows=rows is not None,
    )  # fmt: skip
    cos, sin = (None if angles is None else angles.contiguous() for angles in (cos, sin))
    key_scales, value_scales = cache.scales or (None, None)
    with on(qkv):
        launch(
            (qkv.shape[0], heads + 2 * kv_heads, 1),
            kinds(qkv, cos, sin, positions, rows, q_norm, k_norm, cache.keys, cache.values),
            qkv, cos, sin, positions, rows, q_norm, k_norm, q, cache.keys, cache.values, key_scales,
            value_scales, capacity, float(eps),
        )  # fmt: skip
    return q


def rotate_and_store_latent_on_gpu(
    q: Tensor,
    latent: Tensor,
    queries: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor,
    cache: KeyValueCache,
    *,
    weight: Tensor | None,
    rows: Tensor | None = None,
    interleaved: bool = True,
    eps: float = 1e-6,
    kind: NormKind = "rms",
) -> None:
    """`kernels.rotate_and_store_latent` on the current stream."""
    tokens, heads, rotary = q.shape
    if not tokens:
        return
    launch = latent_launch(
        gpu_here(q.device), heads, cache.latent, rotary // 2, interleaved=interleaved,
        norm=None if weight is None else kind, coded=cache.scales is not None, rows=rows is not None,
    )  # fmt: skip
    key_scales, value_scales = cache.scales or (None, None)
    with on(q):
        launch(
            (tokens, heads + 1, 1),
            kinds(q, latent, cos, sin, positions, rows, weight, queries, cache.keys),
            q, latent, cos.contiguous(), sin.contiguous(), positions, rows, weight, queries, cache.keys,
            key_scales, value_scales, cache.capacity, q.stride(0), q.stride(1), latent.stride(0),
            queries.stride(0), queries.stride(1), float(eps),
        )  # fmt: skip
