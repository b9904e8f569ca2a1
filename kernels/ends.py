# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917, RET505, RUF005 — Triton compiles one branch of an `if` and takes many arguments
"""Device functions: what comes before the walk along K (RMS norm) and after it.

After it, in this order: the scales of a matrix without groups, the sum over the warps, bias, activation(gate)
times up, residual, and the rounding to the result's dtype. `kernels.fragments` says what a C is.
"""

import triton
import triton.language as tl

from kernels.fragments import halves_of, load_x, round_to


@triton.jit
def norm_factors(
    x_rows,
    at,
    parts,
    K,
    eps,
    dtype: tl.constexpr,
    BITS: tl.constexpr,
    PAIR: tl.constexpr,
    WARPS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """1 / sqrt(mean(x²) + eps) of the row of x that this lane holds, for each tile of rows."""
    STEP: tl.constexpr = 128 if BITS == 8 else 256
    LOADS: tl.constexpr = STEP // (16 * PAIR)
    factors = ()
    for nt in tl.static_range(len(x_rows)):
        squares = tl.zeros((32 * WARPS,), tl.float32)
        for part in range(parts):
            for q in tl.static_range(LOADS):
                place = at + part * (WARPS * STEP // 2) + 8 * PAIR * q
                inside = (place < K // 2).to(tl.float32)
                words = load_x(x_rows[nt] + tl.minimum(place, K // 2 - 2 * PAIR), PAIR, INTERPRET)
                for i in tl.static_range(2 * PAIR):
                    low, high = halves_of(words[i], dtype)
                    squares += (low * low + high * high) * inside
        of_row = tl.sum(tl.sum(tl.reshape(squares, (WARPS, 8, 4)), 2), 0)
        factor = 1.0 / tl.sqrt_rn(of_row / K + eps)
        spread = tl.broadcast_to(factor[None, :, None], (WARPS, 8, 4))
        factors = factors + (tl.reshape(spread, (32 * WARPS,)),)
    return factors


@triton.jit
def channel_scales(scales_ptr, tile, tiles, scale_dtype: tl.constexpr):
    """The scales of a row tile without groups, for element 16 t + n of `sum_warps`."""
    n = tl.arange(0, 64) % 16
    low, high = halves_of(tl.load(scales_ptr + tile * 8 + n % 8, mask=tile < tiles, other=0), scale_dtype)
    return tl.where(n < 8, low, high)


@triton.jit
def couple(low, high):
    """Two float32 values in one 64-bit element: what moves together needs no `join`."""
    upper = high.to(tl.int32, bitcast=True).to(tl.int64) << 32
    return upper | low.to(tl.uint32, bitcast=True).to(tl.int64)


@triton.jit
def add_last(value, COUNT: tl.constexpr, WARPS: tl.constexpr):
    """[COUNT, WARPS] → [COUNT], neighbours first; each thread holds the last dimension whole."""
    LEVELS: tl.constexpr = WARPS.bit_length() - 1
    for level in tl.static_range(LEVELS):
        even, odd = tl.split(tl.reshape(value, (COUNT, WARPS >> (level + 1), 2)))
        value = even + odd
    return tl.reshape(value, (COUNT,))


@triton.jit
def sum_warps(
    c, scales_ptr, tile, tiles, scale_dtype: tl.constexpr, GROUPS: tl.constexpr, WARPS: tl.constexpr
):
    """One C of every warp, added in a fixed order → for e = 0 and 1 float32 [64], element 16 t + n.

    Element 16 t + n is output n of the row tile and row 2 t + e of the x tile. Without groups the rows'
    scales are applied to the sums. One trip through shared memory: the warps become the last dimension, which
    `split` wants in one thread.
    """
    both = tl.reshape(tl.join(couple(c[0], c[1]), couple(c[2], c[3])), (WARPS, 8, 4, 2))  # g, t, r
    both = tl.reshape(tl.permute(both, (2, 3, 1, 0)), (64, WARPS))
    even = both.to(tl.int32).to(tl.float32, bitcast=True)
    odd = (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    even = add_last(even, 64, WARPS)
    odd = add_last(odd, 64, WARPS)
    if GROUPS == 0:
        scales = channel_scales(scales_ptr, tile, tiles, scale_dtype)
        even *= scales
        odd *= scales
    return even, odd


@triton.jit
def late_factors(c, scales_ptr, K, eps, scale_dtype: tl.constexpr, WARPS: tl.constexpr):
    """1 / sqrt(mean(x²) + eps) for every element of `sum_warps`, from the rows of an x tile times themselves.

    Of C[i, j] = x_i · x_j (i and i + 8 are the same row) the diagonal counts.
    """
    squares = sum_warps(c, scales_ptr, 0, 1, scale_dtype, 1, WARPS)
    place = tl.arange(0, 64)
    factors = ()
    for e in tl.static_range(2):
        of_row = tl.where(place % 16 == place // 16 * 2 + e, squares[e], 0.0)
        factors = factors + (spread_factor(tl.sum(tl.reshape(of_row, (4, 16)), 1), K, eps),)
    return factors


@triton.jit
def fed_factors(squares_ptr, first_row, M, K, eps, PARTS: tl.constexpr):
    """The same from what the product before stored: a sum of squares for each 16 of K columns of each row.

    `first_row` is that of element 0; PARTS is a power of two, at least the sums of a row.
    """
    parts = (K + 15) // 16
    part = tl.arange(0, PARTS)
    if M == 1:  # one row for all: four would take four times as long
        whole = tl.sum(tl.load(squares_ptr + part, mask=part < parts, other=0.0), 0)
        even = tl.zeros((4,), tl.float32) + whole
        odd = tl.zeros((4,), tl.float32) + whole
    else:
        even = sums_of_rows(squares_ptr, first_row, M, parts, PARTS)
        odd = sums_of_rows(squares_ptr, first_row + 1, M, parts, PARTS)
    return spread_factor(even, K, eps), spread_factor(odd, K, eps)


@triton.jit
def sums_of_rows(squares_ptr, first_row, M, parts, PARTS: tl.constexpr):
    """float32 [4]: what is stored for the rows first_row, first_row + 2, …, added up; 0 past the last."""
    row = first_row + tl.arange(0, 4) * 2
    part = tl.arange(0, PARTS)
    inside = (row < M)[:, None] & (part < parts)[None, :]
    return tl.sum(tl.load(squares_ptr + row[:, None] * parts + part[None, :], mask=inside, other=0.0), 1)


@triton.jit
def spread_factor(squares, K, eps):
    """1 / sqrt(mean(x²) + eps) of four rows, from their sums of squares [4], for what `sum_warps` gives."""
    factor = 1.0 / tl.sqrt_rn(squares / K + eps)
    return tl.reshape(tl.broadcast_to(factor[:, None], (4, 16)), (64,))


@triton.jit
def activate(gate, ACTIVATION: tl.constexpr):
    """The activation of float32 values; erf, tanh and silu as torch defines them."""
    if ACTIVATION == "silu":
        return gate / (1.0 + tl.exp(-gate))
    elif ACTIVATION == "gelu":
        return 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    elif ACTIVATION == "gelu_tanh":  # tanh(u) = 1 - 2 / (exp(2 u) + 1), right for every u
        inner = 1.5957691216057308 * (gate + 0.044715 * gate * gate * gate)
        return gate * (1.0 - 1.0 / (tl.exp(inner) + 1.0))
    else:
        return tl.maximum(gate, 0.0)


@triton.jit
def store_rows(
    value,
    gate,
    bias_ptr,
    residual_ptr,
    out_ptr,
    tile,
    first_row,
    M,
    N,
    next_ptr,
    scaled_ptr,
    squares_ptr,
    tiles,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    FEEDS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """Everything after the sum, and away: `value` [64] as `sum_warps` gives it, out has N columns.

    `first_row` is the row of x of element 0. With an activation `value` is of the up rows, whose bias follows
    the gate's. FEEDS: what was stored also times the weights of the next norm, and the sum of its squares.
    """
    place = tl.arange(0, 64)
    m = first_row + place // 16 * 2
    n = tile * 16 + place % 16
    inside = (m < M) & (n < N)
    if HAS_BIAS and ACTIVATION != "":
        gate += tl.load(bias_ptr + n, mask=n < N, other=0.0).to(tl.float32)
        value += tl.load(bias_ptr + N + n, mask=n < N, other=0.0).to(tl.float32)
    elif HAS_BIAS:
        value += tl.load(bias_ptr + n, mask=n < N, other=0.0).to(tl.float32)
    if ACTIVATION != "":
        value = activate(gate, ACTIVATION) * value
    at = m.to(tl.int64) * N + n
    if HAS_RESIDUAL:
        value += tl.load(residual_ptr + at, mask=inside, other=0.0).to(tl.float32)
    stored = round_to(value, out_ptr.dtype.element_ty, INTERPRET)
    tl.store(out_ptr + at, stored, mask=inside)
    if FEEDS:
        wide = tl.where(inside, stored.to(tl.float32), 0.0)
        scaled = wide * tl.load(next_ptr + n, mask=n < N, other=0.0).to(tl.float32)
        tl.store(scaled_ptr + at, round_to(scaled, scaled_ptr.dtype.element_ty, INTERPRET), mask=inside)
        row = first_row + tl.arange(0, 4) * 2
        squares = tl.sum(tl.reshape(wide * wide, (4, 16)), 1)
        tl.store(squares_ptr + row.to(tl.int64) * tiles + tile, squares, mask=row < M)
