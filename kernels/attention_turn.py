# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917 — a device function takes many arguments
"""Rotary positions in decode attention: queries turned as they are read, the newest key as it is stored.

The plain case of `kernels.rotary_kernel`: halves, all columns, no norms, no codes. Each program turns its own
queries; the newest key and value are written by the program whose part they end, before it reads that part.
"""

import triton
import triton.language as tl

from kernels.fragments import round_to


@triton.jit
def angles_of(cos_ptr, sin_ptr, length, HALF: tl.constexpr):
    """cos and sin [HALF] at the newest position."""
    at = tl.maximum(length - 1, 0) * HALF + tl.arange(0, HALF)
    return tl.load(cos_ptr + at), tl.load(sin_ptr + at)


@triton.jit
def halves_of_queries(qkv_ptr, head, here, D: tl.constexpr):
    """The two halves [HEADS, D / 2] of the queries of `head` [HEADS], of a token's row, in float32."""
    pair = tl.arange(0, D // 2)
    place = qkv_ptr + head[:, None] * D + pair[None, :]
    a = tl.load(place, mask=here[:, None], other=0.0).to(tl.float32)
    return a, tl.load(place + D // 2, mask=here[:, None], other=0.0).to(tl.float32)


@triton.jit
def turned_queries(a, b, cos, sin, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """Queries [HEADS, D], rounded once as if they had been stored in between."""
    cos = cos[None, :]
    sin = sin[None, :]
    HEADS: tl.constexpr = a.shape[0]
    D: tl.constexpr = 2 * a.shape[1]
    both = tl.join(
        round_to(a * cos - b * sin, dtype, INTERPRET), round_to(b * cos + a * sin, dtype, INTERPRET)
    )
    return tl.reshape(tl.permute(both, (0, 2, 1)), (HEADS, D))


@triton.jit
def newest_of(qkv_ptr, key_at, value_at, D: tl.constexpr, DV: tl.constexpr, VALUE: tl.constexpr):
    """The two halves of the newest key [D / 2], in float32, and its value [VALUE], of a token's row."""
    pair = tl.arange(0, D // 2)
    column = tl.arange(0, VALUE)
    a = tl.load(qkv_ptr + key_at + pair).to(tl.float32)
    b = tl.load(qkv_ptr + key_at + D // 2 + pair).to(tl.float32)
    return a, b, tl.load(qkv_ptr + value_at + column, mask=column < DV, other=0.0)


@triton.jit
def store_newest(
    keys_ptr, values_ptr, slot, mine, a, b, v, cos, sin, D: tl.constexpr, DV: tl.constexpr,
    VALUE: tl.constexpr, INTERPRET: tl.constexpr,
):  # fmt: skip
    """Write the turned key and the value into `slot` if it is `mine`; every thread may read them afterwards.

    Without a branch: in one, the loads of a, b and v would begin when the length is known.
    """
    dtype: tl.constexpr = keys_ptr.dtype.element_ty
    key = keys_ptr + slot * D + tl.arange(0, D // 2)
    inside = mine & (tl.arange(0, D // 2) < D // 2)
    tl.store(key, round_to(a * cos - b * sin, dtype, INTERPRET), mask=inside)
    tl.store(key + D // 2, round_to(b * cos + a * sin, dtype, INTERPRET), mask=inside)
    column = tl.arange(0, VALUE)
    tl.store(values_ptr + slot * DV + column, v, mask=mine & (column < DV))
    tl.debug_barrier()
