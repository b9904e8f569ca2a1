# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917, RET505 — Triton compiles one branch of an `if`; a kernel takes many arguments
"""Parts of decode attention, and how they become one: by a head's last program, or by a launch of their own.

    out = Σ_part sums * 2^(m - M) / Σ_part l * 2^(m - M)         M the largest m; a sink is one more l

Parts are added in order, so the bits are the same whoever comes last. A latent's parts are so wide that one
program would read them for longer than a launch takes: there each row, and some columns, have a program.
"""

from functools import cache

import triton
import triton.language as tl

from kernels.fragments import launch_next, round_to, wait_for_previous
from kernels.launch import Launch
from kernels.step_launch import step_constants, step_options
from kernels.tiles import Gpu

MERGE_COLUMNS = 128
# Adding 32 parts took 8 µs longer than 8 (2,048 tokens, batch 1, H200).
FEW_PARTS = tl.constexpr(8)
LONG = tl.constexpr(256)


@triton.jit
def finite(highest):
    """The largest score to measure others from; 0 where there is none, so that 2^(-inf - it) is 0."""
    return tl.where(highest == float("-inf"), 0.0, highest)


@triton.jit
def part_of(
    length, window, C, part, parts, SPAN: tl.constexpr, BLOCK: tl.constexpr, FEW: tl.constexpr
):  # fmt: skip
    """Of a sequence of `length` tokens: how many are seen, parts that have any, first and end of `part`.

    A part has SPAN positions at least; with FEW it grows up to LONG before there are more than FEW of them.
    """
    oldest = tl.maximum(length - tl.minimum(window, C), 0)
    count = length - oldest
    span = tl.cdiv(tl.cdiv(count, parts), BLOCK) * BLOCK
    span = tl.maximum(span, SPAN)
    if FEW:
        span = tl.maximum(span, tl.minimum(tl.cdiv(tl.cdiv(count, FEW), BLOCK) * BLOCK, LONG))
    first = oldest + part * span
    return count, tl.cdiv(count, span), first, tl.minimum(first + span, length)


@triton.jit
def sum_of_teams(x, TEAMS: tl.constexpr):
    """x [TEAMS, M, N] summed over the first axis, a power of two: halves are added to halves.

    Splitting makes each thread the owner of all terms of a sum; `tl.sum` would go by way of other lanes.
    """
    M: tl.constexpr = x.shape[1]
    N: tl.constexpr = x.shape[2]
    x = tl.permute(x, (1, 2, 0))
    left: tl.constexpr = TEAMS // 2
    if left > 1:
        a, b = tl.split(tl.reshape(x, (M, N, left, 2)))
        return sum_of_teams(tl.permute(a + b, (2, 0, 1)), left)
    else:
        a, b = tl.split(x)
        return a + b


@triton.jit
def store_whole(
    sinks_ptr, out_ptr, head, sink, m, total, sums, here, count, DV: tl.constexpr, VALUE: tl.constexpr,
    SINKS: tl.constexpr, INTERPRET: tl.constexpr,
):  # fmt: skip
    """out[head] of a part that is all there is; 0 without any position."""
    column = tl.arange(0, VALUE)
    if SINKS:
        score = tl.load(sinks_ptr + sink, mask=here, other=0.0).to(tl.float32) * 1.4426950408889634
        total += tl.exp2(score - m)
    out = round_to(sums / tl.where(count > 0, total, 1.0)[:, None], out_ptr.dtype.element_ty, INTERPRET)
    place = head[:, None] * DV + column[None, :]
    tl.store(out_ptr + place, out, mask=here[:, None] & (column < DV)[None, :])


@triton.jit
def store_part(
    sums_ptr, marks_ptr, place, m, total, sums, here, there, DV: tl.constexpr, VALUE: tl.constexpr
):
    """What a part keeps; of one that is empty only m and l."""
    column = tl.arange(0, VALUE)
    tl.store(marks_ptr + place * 2, m, mask=here)
    tl.store(marks_ptr + place * 2 + 1, total, mask=here)
    inside = here[:, None] & (column < DV)[None, :] & there
    tl.store(sums_ptr + place[:, None] * DV + column[None, :], sums, mask=inside)


@triton.jit
def is_last(arrived_ptr, place, active):
    """Whether all `active` programs that share counter `place` are through with this one; what they stored
    before can be read past L1 then. The counter is zero before the first and after the last.
    """
    tl.debug_barrier()  # the stores of every thread come before the one that counts
    last = tl.atomic_add(arrived_ptr + place, 1, sem="acq_rel", scope="gpu") == active - 1
    if last:
        tl.store(arrived_ptr + place, 0)
    return last


@triton.jit
def merge_parts(
    sums_ptr,
    marks_ptr,
    sinks_ptr,
    out_ptr,
    head,  # int64 [ROWS]: of all sequences
    sink,  # [ROWS]: of the model
    here,  # [ROWS]
    parts,
    active,
    ROWS: tl.constexpr,
    DV: tl.constexpr,
    VALUE: tl.constexpr,
    CHUNK: tl.constexpr,  # parts at once
    SINKS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """out[head] of the first `active` parts, none of which is empty."""
    column = tl.arange(0, VALUE)
    m = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    sums = tl.zeros((ROWS, VALUE), tl.float32)
    for begin in range(0, active, CHUNK):
        part = begin + tl.arange(0, CHUNK)
        there = (part < active)[:, None] & here[None, :]
        place = head[None, :] * parts + part[:, None]
        of_parts = tl.load(
            sums_ptr + place[:, :, None] * DV + column[None, None, :],
            mask=there[:, :, None] & (column < DV)[None, None, :], other=0.0, cache_modifier=".cg",
        )  # fmt: skip
        m_parts = tl.load(marks_ptr + place * 2, mask=there, other=float("-inf"), cache_modifier=".cg")
        l_parts = tl.load(marks_ptr + place * 2 + 1, mask=there, other=0.0, cache_modifier=".cg")
        highest = tl.maximum(m, tl.max(m_parts, 0))
        share = tl.exp2(m_parts - finite(highest)[None, :])
        faded = tl.exp2(m - finite(highest))
        m = highest
        total = total * faded + tl.sum(l_parts * share, 0)
        sums = sums * faded[:, None] + tl.sum(of_parts * share[:, :, None], 0)
    store_whole(sinks_ptr, out_ptr, head, sink, m, total, sums, here, active, DV, VALUE, SINKS, INTERPRET)


@triton.jit(do_not_specialize=["H", "parts"])
def merge_kernel(
    sums_ptr,
    marks_ptr,
    sinks_ptr,
    out_ptr,
    H,
    parts,
    DV: tl.constexpr,
    MOST: tl.constexpr,  # power of two, at least the parts
    COLUMNS: tl.constexpr,
    SINKS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """The same, for a row (sequence, head) and COLUMNS of it a program, of parts that may be empty."""
    row = tl.program_id(0)
    launch_next(row, PDL)
    row = row.to(tl.int64) + wait_for_previous(row, PDL)
    part = tl.arange(0, MOST)
    place = row * parts + part
    m = tl.load(marks_ptr + place * 2, mask=part < parts, other=float("-inf"))
    total = tl.load(marks_ptr + place * 2 + 1, mask=part < parts, other=0.0)
    any_there = total != 0  # a NaN is there too
    highest = finite(tl.max(m, 0))  # a sequence may have no tokens
    share = tl.where(any_there, tl.exp2(m - highest), 0.0)
    whole = tl.sum(total * share, 0)
    if SINKS:
        whole += tl.exp2(tl.load(sinks_ptr + row % H).to(tl.float32) * 1.4426950408889634 - highest)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    sums = tl.load(
        sums_ptr + place[:, None] * DV + column[None, :],
        mask=any_there[:, None] & (column < DV)[None, :], other=0.0,
    )  # fmt: skip
    out = tl.sum(sums * share[:, None], 0) / tl.where(tl.sum(any_there.to(tl.int32), 0) > 0, whole, 1.0)
    tl.store(
        out_ptr + row * DV + column, round_to(out, out_ptr.dtype.element_ty, INTERPRET), mask=column < DV
    )


@cache
def merge_launch(gpu: Gpu, value_dim: int, most_parts: int, sinks: bool) -> Launch:
    """The launch of its own for so many parts."""
    columns = min(MERGE_COLUMNS, int(triton.next_power_of_2(value_dim)))
    constants = {"DV": value_dim, "MOST": most_parts, "COLUMNS": columns, "SINKS": sinks}
    return Launch(merge_kernel, constants | step_constants(gpu), step_options(gpu, 4))
