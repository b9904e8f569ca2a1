# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0912, PLR0915, PLR0917, RET505 — Triton compiles one branch of an `if`; a kernel takes many arguments
"""Decode attention on a GPU: the newest token of each sequence over its cache, split over the context.

    program (part, heads, sequence)      up to 16 (32) query heads that share a key head, as rows of a matrix
                                         product; fewer are filled up: it costs nothing beside reading

         positions   oldest ┌── part 0 ──┬── part 1 ──┬ … ┬── part P-1 ─┐ newest     BLOCK positions at a time
                            └ m, l, sums ┘                └ m, l, sums ─┘

Each part keeps m = max score, l = Σ exp(score - m) and sums = Σ exp(score - m) * value. The last program of
a head to be through brings all parts to one m, adds them in order and divides (`kernels.attention_merge`).
The most parts follow from the capacity, how many and how long they are from the length on the device, so
a captured graph serves every length; programs without a part end at once, and one that has all divides.

Of a block's positions each warp takes some of its own (TEAMS): m, l and sums are then a warp's, and the warps
meet only at the end of the part. Else (TEAMS = 1) they share the columns and meet at each block.

A head's D columns are filled up to a power of two with zeros, which are not read. A latent cache has its
columns in two pieces, of which the first is multiplied twice: with the queries, and as the values.
"""

import triton
import triton.language as tl

from kernels.attention_merge import (
    FEW_PARTS,
    finite,
    is_last,
    merge_parts,
    part_of,
    store_part,
    store_whole,
    sum_of_teams,
)
from kernels.attention_turn import (
    angles_of,
    halves_of_queries,
    newest_of,
    store_newest,
    turned_queries,
)
from kernels.fragments import launch_next, round_to, wait_for_previous

LOG2_E = 1.4426950408889634
NO_WINDOW = 1 << 30
SMALLEST_DOT = 16  # rows and columns of a matrix product


@triton.jit
def operand(x, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """x, or codes, for the matrix unit; the interpreter has neither products nor codes in bfloat16."""
    if INTERPRET:
        return x.to(tl.float32)
    else:
        return x.to(dtype)


@triton.jit
def dot(a, b):
    """a [M, K] times b [K, N], summed in float32 and without shortcuts for float32."""
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def tanh(x):
    """1 - 2 / (e^2x + 1), right at both ends."""
    return 1.0 - 2.0 / (tl.exp2(x * 2.8853900817779268) + 1.0)  # 2 log2(e)


@triton.jit
def transposed(x):
    """The last two axes exchanged."""
    if len(x.shape) == 3:
        return tl.permute(x, (0, 2, 1))
    else:
        return tl.trans(x)


@triton.jit(do_not_specialize=["C", "window"])
def attend_kernel(
    q_ptr,  # with TURN: qkv
    cos_ptr,
    sin_ptr,
    keys_ptr,
    values_ptr,
    key_scales_ptr,
    value_scales_ptr,
    lengths_ptr,
    sinks_ptr,
    out_ptr,
    sums_ptr,
    marks_ptr,
    arrived_ptr,
    C,
    window,
    scale,  # times log2(e), without a softcap
    softcap,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,  # query heads that share a key head
    D: tl.constexpr,
    DV: tl.constexpr,
    MAIN: tl.constexpr,  # columns of a key, power of two; of a latent: its first DV
    TAIL: tl.constexpr,  # the other columns of a latent, power of two
    VALUE: tl.constexpr,  # columns of a value, power of two
    HEADS: tl.constexpr,  # rows of the product
    BLOCK: tl.constexpr,
    TEAMS: tl.constexpr,  # warps that have positions of their own; 1: they share columns
    SPAN: tl.constexpr,  # the fewest positions of a part
    SPLIT: tl.constexpr,  # "": one part, "one": merged by the last program, "two": by another launch
    ROWS: tl.constexpr,  # of a merge: power of two, at least the heads here
    CHUNK: tl.constexpr,  # of a merge: parts at once
    TURN: tl.constexpr,  # queries, and the newest key, which is stored here
    CODED: tl.constexpr,  # int8
    SOFTCAP: tl.constexpr,
    SINKS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    dtype: tl.constexpr = q_ptr.dtype.element_ty
    LATENT: tl.constexpr = TAIL > 0
    OF_MAIN: tl.constexpr = DV if LATENT else D  # columns that there are
    LAST: tl.constexpr = 2 if TEAMS > 1 else 1  # the axis of positions, and of columns
    part = tl.program_id(0)
    parts = tl.num_programs(0)
    head_blocks: tl.constexpr = (GROUP + HEADS - 1) // HEADS
    kv_head = tl.program_id(1) // head_blocks
    first_of_group = tl.program_id(1) % head_blocks * HEADS
    sequence = tl.program_id(2)
    # Where this head's slots begin; from there 32 bits reach any of 2^31 / D slots.
    run = (sequence.to(tl.int64) * KV_HEADS + kv_head) * C
    keys_ptr += run * D
    if TAIL == 0:
        values_ptr += run * DV
    if CODED:
        key_scales_ptr += run
        value_scales_ptr += run
    launch_next(part, PDL)
    zero = wait_for_previous(part, PDL)
    in_group = first_of_group + tl.arange(0, HEADS)
    here = in_group < GROUP
    first_head = sequence.to(tl.int64) * (KV_HEADS * GROUP) + kv_head * GROUP + zero
    head = first_head + in_group
    column = tl.arange(0, MAIN)
    value_column = tl.arange(0, VALUE)
    if TURN:
        q_ptr += (sequence.to(tl.int64) + zero) * ((KV_HEADS * GROUP + KV_HEADS) * D + KV_HEADS * DV)
        a, b = halves_of_queries(q_ptr, kv_head * GROUP + in_group, here, D)
        key_at = (KV_HEADS * GROUP + kv_head) * D
        new_a, new_b, new_v = newest_of(
            q_ptr, key_at, KV_HEADS * (GROUP + 1) * D + kv_head * DV, D, DV, VALUE
        )
    else:
        q = tl.load(
            q_ptr + head[:, None] * D + column[None, :],
            mask=here[:, None] & (column < OF_MAIN)[None, :],
            other=0.0,
        )
    # After the queries, which then are under way while all that follows waits for it.
    length = tl.load(lengths_ptr + sequence + zero).to(tl.int32)
    FEW: tl.constexpr = FEW_PARTS if SPLIT == "one" else 0
    count, active, first, last = part_of(length, window, C, part, parts, SPAN, BLOCK, FEW)
    if SPLIT == "one" and (part > 0) & (first >= last):
        return
    if TURN:
        cos, sin = angles_of(cos_ptr, sin_ptr, length, D // 2)
        q = turned_queries(a, b, cos, sin, dtype, INTERPRET)
        store_newest(
            keys_ptr, values_ptr, tl.maximum(length - 1, 0) % C, (first < last) & (last == length), new_a,
            new_b, new_v, cos, sin, D, DV, VALUE, INTERPRET,
        )  # fmt: skip
    if LATENT:
        tail = tl.arange(0, TAIL)
        in_tail = (tail < D - DV)[None, :]
        q_tail = tl.load(
            q_ptr + head[:, None] * D + DV + tail[None, :], mask=here[:, None] & in_tail, other=0.0
        )
        q_tail = operand(q_tail, dtype, INTERPRET)
    q = operand(q, dtype, INTERPRET)
    if TEAMS > 1:
        q = tl.broadcast_to(q[None, :, :], (TEAMS, HEADS, MAIN))
        m = tl.full((TEAMS, HEADS), float("-inf"), tl.float32)
        total = tl.zeros((TEAMS, HEADS), tl.float32)
        sums = tl.zeros((TEAMS, HEADS, VALUE), tl.float32)
    else:
        m = tl.full((HEADS,), float("-inf"), tl.float32)
        total = tl.zeros((HEADS,), tl.float32)
        sums = tl.zeros((HEADS, VALUE), tl.float32)
    begin = first % C
    for start in range(first, last, BLOCK):
        if TEAMS > 1:
            of_team: tl.constexpr = BLOCK // TEAMS
            position = start + tl.arange(0, TEAMS)[:, None] * of_team + tl.arange(0, of_team)[None, :]
            k_column = column[None, None, :]
            v_column = value_column[None, None, :]
        else:
            position = start + tl.arange(0, BLOCK)
            k_column = column[None, :]
            v_column = value_column[None, :]
        inside = position < last
        slot = begin + (position - first)  # of the ring's slots no more than C are seen
        slot = tl.where(slot < C, slot, slot - C)
        row = tl.expand_dims(slot, LAST)
        k = tl.load(
            keys_ptr + row * D + k_column,
            mask=tl.expand_dims(inside, LAST) & (k_column < OF_MAIN), other=0,
        )  # fmt: skip
        score = dot(q, transposed(operand(k, dtype, INTERPRET)))
        if CODED:
            value_scale = tl.load(value_scales_ptr + slot, mask=inside, other=0.0)
            key_scale = tl.load(key_scales_ptr + slot, mask=inside, other=0.0)
            if LATENT:
                score *= value_scale[None, :]
            else:
                score *= tl.expand_dims(key_scale, LAST - 1)
        if LATENT:
            k_tail = tl.load(
                keys_ptr + slot[:, None] * D + DV + tail[None, :], mask=inside[:, None] & in_tail, other=0
            )
            of_tail = dot(q_tail, tl.trans(operand(k_tail, dtype, INTERPRET)))
            score += of_tail * key_scale[None, :] if CODED else of_tail
        score *= scale
        if SOFTCAP:
            score = tanh(score / softcap) * (softcap * 1.4426950408889634)
        score = tl.where(tl.expand_dims(inside, LAST - 1), score, float("-inf"))
        highest = tl.maximum(m, tl.max(score, LAST))
        level = finite(highest) if TEAMS > 1 else highest  # a warp may have met no position yet
        p = tl.exp2(score - tl.expand_dims(level, LAST))
        faded = tl.exp2(m - level)
        m = highest
        total = total * faded + tl.sum(p, LAST)
        sums *= tl.expand_dims(faded, LAST)
        if LATENT:
            v = k
        else:
            v = tl.load(
                values_ptr + row * DV + v_column,
                mask=tl.expand_dims(inside, LAST) & (v_column < DV), other=0,
            )  # fmt: skip
        v = operand(v, dtype, INTERPRET)
        if CODED:
            # Scales beside the largest of them, so that in 16 bits a share stays as exact as it is.
            largest = tl.max(value_scale, LAST - 1)
            if TEAMS > 1:
                largest = largest[:, None]
            p *= tl.expand_dims(value_scale / tl.where(largest > 0, largest, 1.0), LAST - 1)
            of_block = dot(operand(round_to(p, dtype, INTERPRET), dtype, INTERPRET), v)
            sums += of_block * (largest[:, :, None] if TEAMS > 1 else largest)
        else:
            sums += dot(operand(round_to(p, dtype, INTERPRET), dtype, INTERPRET), v)
    if TEAMS > 1:
        highest = tl.max(m, 0)
        faded = tl.exp2(m - finite(highest)[None, :])
        m = highest
        total = tl.sum(total * faded, 0)
        sums = sum_of_teams(sums * faded[:, :, None], TEAMS)
    if SPLIT == "two":
        store_part(sums_ptr, marks_ptr, head * parts + part, m, total, sums, here, first < last, DV, VALUE)
    elif SPLIT == "one":
        if active > 1:
            store_part(sums_ptr, marks_ptr, head * parts + part, m, total, sums, here, True, DV, VALUE)
            if is_last(arrived_ptr, sequence * tl.num_programs(1) + tl.program_id(1), active):
                row = first_of_group + tl.arange(0, ROWS)
                merge_parts(
                    sums_ptr, marks_ptr, sinks_ptr, out_ptr, first_head + row, kv_head * GROUP + row,
                    row < GROUP, parts, active, ROWS, DV, VALUE, CHUNK, SINKS, INTERPRET,
                )  # fmt: skip
        else:
            store_whole(
                sinks_ptr, out_ptr, head, kv_head * GROUP + in_group, m, total, sums, here, count, DV, VALUE,
                SINKS, INTERPRET,
            )  # fmt: skip
    else:
        store_whole(
            sinks_ptr, out_ptr, head, kv_head * GROUP + in_group, m, total, sums, here, count, DV, VALUE,
            SINKS, INTERPRET,
        )  # fmt: skip


def padded(columns: int) -> int:
    """A power of two that a matrix product takes."""
    return max(SMALLEST_DOT, int(triton.next_power_of_2(columns)))


def factors(scale: float, softcap: float | None) -> tuple[float, float]:
    """What the kernels multiply a score with, towards powers of two, and the cap."""
    return float(scale * LOG2_E if softcap is None else scale), float(softcap or 1.0)
