# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0915, PLR0917 — a kernel takes many arguments
"""Attention of a chunk of a prompt on a GPU: straight from the cache, whatever it looks like.

    program (block of ROWS queries, head)

               oldest seen          own position
    first      ░░░░░▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓            BLOCK positions at a time, from the oldest that
    first + 1  ░░░░░░▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓           any row of the block sees to the newest
    …                └───── window ─────┘

It is what torch's attention is not asked for: a chunk that begins in the middle of its text, windows in a
ring, soft caps, sinks, and int8 codes, which are unpacked on the way to the matrix unit. A head's columns are
read in two pieces (96 = 64 + 32), so that little of the matrix unit multiplies zeros.
"""

from functools import cache

import triton
import triton.language as tl
from torch import Tensor

from kernels.attention_kernel import NO_WINDOW, SMALLEST_DOT, dot, factors, operand, padded, tanh
from kernels.fragments import launch_next, round_to, wait_for_previous
from kernels.key_values import KeyValueCache
from kernels.launch import Launch
from kernels.step_launch import gpu_here, kinds, on, step_constants, step_options
from kernels.tiles import Gpu


@triton.jit(do_not_specialize=["rows", "first", "sequence", "C", "window"])
def prompt_kernel(
    q_ptr,
    keys_ptr,
    values_ptr,
    key_scales_ptr,
    value_scales_ptr,
    sinks_ptr,
    out_ptr,
    rows,
    first,
    sequence,
    C,
    window,
    scale,  # times log2(e), without a softcap
    softcap,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    DV: tl.constexpr,
    MAIN: tl.constexpr,  # the first columns of a key, power of two
    TAIL: tl.constexpr,  # the others, power of two; 0: none
    VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    CODED: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SINKS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    dtype: tl.constexpr = q_ptr.dtype.element_ty
    begin = tl.program_id(0) * ROWS
    head = tl.program_id(1)
    launch_next(begin, PDL)
    row = begin + tl.arange(0, ROWS) + wait_for_previous(begin, PDL)
    here = row < rows
    own = first + row
    column = tl.arange(0, MAIN)
    in_main = (column < D)[None, :]
    value_column = tl.arange(0, VALUE)
    in_value = (value_column < DV)[None, :]
    start = (row.to(tl.int64) * HEADS + head) * D
    q = tl.load(q_ptr + start[:, None] + column[None, :], mask=here[:, None] & in_main, other=0.0)
    if TAIL:
        tail = MAIN + tl.arange(0, TAIL)
        in_tail = (tail < D)[None, :]
        q_tail = tl.load(q_ptr + start[:, None] + tail[None, :], mask=here[:, None] & in_tail, other=0.0)
        q_tail = operand(q_tail, dtype, INTERPRET)
    q = operand(q, dtype, INTERPRET)
    run = (sequence.to(tl.int64) * KV_HEADS + head // (HEADS // KV_HEADS)) * C
    m = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    sums = tl.zeros((ROWS, VALUE), tl.float32)
    oldest = tl.maximum(first + begin + 1 - window, 0)
    end = first + tl.minimum(begin + ROWS, rows)
    for block in range(oldest, end, BLOCK):
        position = block + tl.arange(0, BLOCK)
        inside = position < end
        slot = run + position % C
        k = tl.load(keys_ptr + slot[:, None] * D + column[None, :], mask=inside[:, None] & in_main, other=0)
        score = dot(q, tl.trans(operand(k, dtype, INTERPRET)))
        if TAIL:
            k_tail = tl.load(
                keys_ptr + slot[:, None] * D + tail[None, :], mask=inside[:, None] & in_tail, other=0
            )
            score += dot(q_tail, tl.trans(operand(k_tail, dtype, INTERPRET)))
        if CODED:
            score *= tl.load(key_scales_ptr + slot, mask=inside, other=0.0)[None, :]
        score *= scale
        if SOFTCAP:
            score = tanh(score / softcap) * (softcap * 1.4426950408889634)
        seen = (position[None, :] <= own[:, None]) & (position[None, :] > own[:, None] - window)
        score = tl.where(seen, score, float("-inf"))
        highest = tl.maximum(m, tl.max(score, 1))
        # Rows that see nothing yet have no highest score.
        shift = tl.where(highest > float("-inf"), highest, 0.0)
        p = tl.exp2(score - shift[:, None])
        faded = tl.exp2(m - shift)
        m = highest
        total = total * faded + tl.sum(p, 1)
        sums *= faded[:, None]
        v = tl.load(
            values_ptr + slot[:, None] * DV + value_column[None, :], mask=inside[:, None] & in_value, other=0
        )
        v = operand(v, dtype, INTERPRET)
        if CODED:
            value_scale = tl.load(value_scales_ptr + slot, mask=inside, other=0.0)
            # Scales beside the largest of them, so that in 16 bits a share stays as exact as it is.
            largest = tl.max(value_scale, 0)
            p *= (value_scale / tl.where(largest > 0, largest, 1.0))[None, :]
            sums += dot(operand(round_to(p, dtype, INTERPRET), dtype, INTERPRET), v) * largest
        else:
            sums += dot(operand(round_to(p, dtype, INTERPRET), dtype, INTERPRET), v)
    if SINKS:
        total += tl.exp2(tl.load(sinks_ptr + head).to(tl.float32) * 1.4426950408889634 - m)
    out = round_to(sums / tl.where(here, total, 1.0)[:, None], out_ptr.dtype.element_ty, INTERPRET)
    place = (row.to(tl.int64) * HEADS + head) * DV
    tl.store(out_ptr + place[:, None] + value_column[None, :], out, mask=here[:, None] & in_value)


def pieces(columns: int) -> tuple[int, int]:
    """(main, tail), powers of two that a matrix product takes and that together hold so many columns."""
    main = max(SMALLEST_DOT, 1 << (columns.bit_length() - 1))
    return main, padded(columns - main) if columns > main else 0


@cache
def prompt_launch(
    gpu: Gpu, heads: int, kv_heads: int, head_dim: int, value_dim: int, *, coded: bool, softcap: bool,
    sinks: bool, single: bool,
) -> tuple[Launch, int]:  # fmt: skip
    """(launch, ROWS) for one layer's shape; `single`: in float32, which takes twice the room."""
    main, tail = pieces(head_dim)
    rows, block, warps = 128, 64, 8
    if main > 128 or single:
        rows, block = 64, 32
    elif coded or tail:
        rows, warps = 64, 4
    constants = {
        "HEADS": heads, "KV_HEADS": kv_heads, "D": head_dim, "DV": value_dim, "MAIN": main, "TAIL": tail,
        "VALUE": padded(value_dim), "ROWS": rows, "BLOCK": block, "CODED": coded, "SOFTCAP": softcap,
        "SINKS": sinks,
    }  # fmt: skip
    return Launch(prompt_kernel, constants | step_constants(gpu), step_options(gpu, warps, stages=2)), rows


def attend_prompt_on_gpu(
    q: Tensor,
    cache: KeyValueCache,
    row: int,
    first: int,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """`kernels.attend_prompt` on the current stream, for a cache with values."""
    q = q.contiguous()
    rows, heads, head_dim = q.shape
    kv_heads, capacity = cache.keys.shape[1:3]
    out = q.new_empty((rows, heads, cache.value_dim))
    launch, block = prompt_launch(
        gpu_here(q.device), heads, kv_heads, head_dim, cache.value_dim, coded=cache.scales is not None,
        softcap=softcap is not None, sinks=sinks is not None, single=q.element_size() == 4,
    )  # fmt: skip
    key_scales, value_scales = cache.scales or (None, None)
    with on(q):
        launch(
            (-(-rows // block), heads, 1), kinds(q, cache.keys, cache.values, sinks),
            q, cache.keys, cache.values, key_scales, value_scales, sinks, out, rows, first, row, capacity,
            window or NO_WINDOW, *factors(scale, softcap),
        )  # fmt: skip
    return out
