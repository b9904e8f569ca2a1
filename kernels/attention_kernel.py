# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0912, PLR0915, PLR0917, RET505 — Triton compiles one branch of an `if`; a kernel takes many arguments
"""Decode attention on a GPU: the newest token of each sequence over its cache, split over the context.

    program (part, heads, sequence)      up to 16 (32) query heads that share a key head, as rows of a matrix
                                         product; fewer are filled up: it costs nothing beside reading

         positions   oldest ┌── part 0 ──┬── part 1 ──┬ … ┬── part P-1 ─┐ newest     BLOCK positions at a time
                            └ m, l, sums ┘                └ m, l, sums ─┘

Each part keeps m = max score, l = Σ exp(score - m) and sums = Σ exp(score - m) * value; the second kernel
brings all parts of a head to one m, adds them in order and divides. How many parts there are follows from
the capacity, how long they are from the length on the device, so a captured graph serves every length; parts
without positions end at once. With one part the first kernel divides by itself.

A head's D columns are filled up to a power of two with zeros, which are not read. A latent cache has its
columns in two pieces, of which the first is multiplied twice: with the queries, and as the values.
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.fragments import launch_next, round_to, wait_for_previous
from kernels.key_values import KeyValueCache
from kernels.launch import Launch
from kernels.step_launch import gpu_here, kinds, on, step_constants, step_options
from kernels.tiles import Gpu

LOG2_E = 1.4426950408889634
NO_WINDOW = 1 << 30
MOST_PARTS = 64
PROGRAMS = 2  # a multiprocessor that the split aims at
SMALLEST_DOT = 16  # rows and columns of a matrix product
MERGE_COLUMNS = 128


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


@triton.jit(do_not_specialize=["C", "window"])
def attend_kernel(
    q_ptr,
    keys_ptr,
    values_ptr,
    key_scales_ptr,
    value_scales_ptr,
    lengths_ptr,
    sinks_ptr,
    out_ptr,
    sums_ptr,
    marks_ptr,
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
    SPLIT: tl.constexpr,
    CODED: tl.constexpr,  # int8
    SOFTCAP: tl.constexpr,
    SINKS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    dtype: tl.constexpr = q_ptr.dtype.element_ty
    LATENT: tl.constexpr = TAIL > 0
    OF_MAIN: tl.constexpr = DV if LATENT else D  # columns that there are
    part = tl.program_id(0)
    head_blocks: tl.constexpr = (GROUP + HEADS - 1) // HEADS
    kv_head = tl.program_id(1) // head_blocks
    in_group = tl.program_id(1) % head_blocks * HEADS + tl.arange(0, HEADS)
    sequence = tl.program_id(2)
    launch_next(part, PDL)
    zero = wait_for_previous(part, PDL)
    length = tl.load(lengths_ptr + sequence + zero).to(tl.int32)
    here = in_group < GROUP
    head = sequence.to(tl.int64) * (KV_HEADS * GROUP) + kv_head * GROUP + in_group
    oldest = tl.maximum(length - tl.minimum(window, C), 0)
    count = length - oldest
    parts = tl.num_programs(0)
    span = tl.cdiv(tl.cdiv(count, parts), BLOCK) * BLOCK
    first = oldest + part * span
    last = tl.minimum(first + span, length)
    column = tl.arange(0, MAIN)
    value_column = tl.arange(0, VALUE)
    q = tl.load(
        q_ptr + head[:, None] * D + column[None, :],
        mask=here[:, None] & (column < OF_MAIN)[None, :],
        other=0.0,
    )
    if LATENT:
        tail = tl.arange(0, TAIL)
        in_tail = (tail < D - DV)[None, :]
        q_tail = tl.load(
            q_ptr + head[:, None] * D + DV + tail[None, :], mask=here[:, None] & in_tail, other=0.0
        )
        q_tail = operand(q_tail, dtype, INTERPRET)
    q = operand(q, dtype, INTERPRET)
    run = (sequence.to(tl.int64) * KV_HEADS + kv_head) * C  # where this head's slots begin
    m = tl.full((HEADS,), float("-inf"), tl.float32)
    total = tl.zeros((HEADS,), tl.float32)
    sums = tl.zeros((HEADS, VALUE), tl.float32)
    for start in range(first, last, BLOCK):
        position = start + tl.arange(0, BLOCK)
        inside = position < last
        slot = run + position % C
        k = tl.load(
            keys_ptr + slot[:, None] * D + column[None, :],
            mask=inside[:, None] & (column < OF_MAIN)[None, :], other=0,
        )  # fmt: skip
        score = dot(q, tl.trans(operand(k, dtype, INTERPRET)))
        if CODED:
            value_scale = tl.load(value_scales_ptr + slot, mask=inside, other=0.0)
            key_scale = tl.load(key_scales_ptr + slot, mask=inside, other=0.0)
            if LATENT:
                score *= value_scale[None, :]
            else:
                score *= key_scale[None, :]
        if LATENT:
            k_tail = tl.load(
                keys_ptr + slot[:, None] * D + DV + tail[None, :], mask=inside[:, None] & in_tail, other=0
            )
            of_tail = dot(q_tail, tl.trans(operand(k_tail, dtype, INTERPRET)))
            score += of_tail * key_scale[None, :] if CODED else of_tail
        score *= scale
        if SOFTCAP:
            score = tanh(score / softcap) * (softcap * 1.4426950408889634)
        score = tl.where(inside[None, :], score, float("-inf"))
        highest = tl.maximum(m, tl.max(score, 1))
        p = tl.exp2(score - highest[:, None])
        faded = tl.exp2(m - highest)
        m = highest
        total = total * faded + tl.sum(p, 1)
        sums *= faded[:, None]
        if LATENT:
            v = k
        else:
            v = tl.load(
                values_ptr + slot[:, None] * DV + value_column[None, :],
                mask=inside[:, None] & (value_column < DV)[None, :], other=0,
            )  # fmt: skip
        v = operand(v, dtype, INTERPRET)
        if CODED:
            # Scales beside the largest of them, so that in 16 bits a share stays as exact as it is.
            largest = tl.max(value_scale, 0)
            p *= (value_scale / tl.where(largest > 0, largest, 1.0))[None, :]
            sums += dot(operand(round_to(p, dtype, INTERPRET), dtype, INTERPRET), v) * largest
        else:
            sums += dot(operand(round_to(p, dtype, INTERPRET), dtype, INTERPRET), v)
    stored = here[:, None] & (value_column < DV)[None, :]
    if SPLIT:
        place = head * parts + part
        tl.store(marks_ptr + place * 2, m, mask=here)
        tl.store(marks_ptr + place * 2 + 1, total, mask=here)
        tl.store(sums_ptr + place[:, None] * DV + value_column[None, :], sums, mask=stored & (first < last))
    else:
        if SINKS:
            sink = tl.load(sinks_ptr + kv_head * GROUP + in_group, mask=here, other=0.0).to(tl.float32)
            total += tl.exp2(sink * 1.4426950408889634 - m)
        out = sums / tl.where(count > 0, total, 1.0)[:, None]
        place = head[:, None] * DV + value_column[None, :]
        tl.store(out_ptr + place, round_to(out, out_ptr.dtype.element_ty, INTERPRET), mask=stored)


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
    """out[row] = Σ_part sums * 2^(m - M) / Σ_part l * 2^(m - M), M the largest m; row: (sequence, head)."""
    row = tl.program_id(0)
    launch_next(row, PDL)
    row = row.to(tl.int64) + wait_for_previous(row, PDL)
    part = tl.arange(0, MOST)
    place = row * parts + part
    m = tl.load(marks_ptr + place * 2, mask=part < parts, other=float("-inf"))
    total = tl.load(marks_ptr + place * 2 + 1, mask=part < parts, other=0.0)
    any_there = total != 0  # a NaN is there too
    highest = tl.max(m, 0)
    highest = tl.where(highest == float("-inf"), 0.0, highest)  # of a sequence without tokens
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
def attend_launch(
    gpu: Gpu, kv_heads: int, group: int, head_dim: int, value_dim: int, latent: bool, coded: bool,
    softcap: bool, sinks: bool, split: bool,
) -> tuple[Launch, int, int]:  # fmt: skip
    """(launch, programs that the heads of one sequence make, BLOCK) for one kind of cache and call."""
    value = padded(value_dim)
    main = value if latent else padded(head_dim)
    rows = 16 if group <= 16 else 32
    block = 64 if main <= 128 else 32
    warps = 8 if rows * value > 8192 else 4
    constants = {
        "KV_HEADS": kv_heads, "GROUP": group, "D": head_dim, "DV": value_dim, "MAIN": main,
        "TAIL": padded(head_dim - value_dim) if latent else 0, "VALUE": value, "HEADS": rows, "BLOCK": block,
        "SPLIT": split, "CODED": coded, "SOFTCAP": softcap, "SINKS": sinks,
    }  # fmt: skip
    programs = kv_heads * -(-group // rows)
    options = step_options(gpu, warps, stages=2)
    return Launch(attend_kernel, constants | step_constants(gpu), options), programs, block


@cache
def merge_launch(gpu: Gpu, value_dim: int, most_parts: int, sinks: bool) -> Launch:
    """The second pass for so many parts."""
    columns = min(MERGE_COLUMNS, padded(value_dim))
    constants = {"DV": value_dim, "MOST": most_parts, "COLUMNS": columns, "SINKS": sinks}
    return Launch(merge_kernel, constants | step_constants(gpu), step_options(gpu, 4))


def padded(columns: int) -> int:
    """A power of two that a matrix product takes."""
    return max(SMALLEST_DOT, int(triton.next_power_of_2(columns)))


def factors(scale: float, softcap: float | None) -> tuple[float, float]:
    """What the kernels multiply a score with, towards powers of two, and the cap."""
    return float(scale * LOG2_E if softcap is None else scale), float(softcap or 1.0)


def parts_of(programs: int, capacity: int, block: int, multiprocessors: int) -> int:
    """Parts of the context, so that every multiprocessor has work; at least a block each."""
    wanted = -(-PROGRAMS * multiprocessors // programs)
    return max(1, min(MOST_PARTS, wanted, -(-capacity // block)))


def attend_on_gpu(
    q: Tensor,
    cache: KeyValueCache,
    lengths: Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    parts: int | None = None,
) -> Tensor:
    """`kernels.attend` on the current stream; `parts` of the context, None: as many as fill the GPU."""
    gpu = gpu_here(q.device)
    batch, heads, width = q.shape
    kv_heads, capacity = cache.keys.shape[1:3]
    value_dim = cache.value_dim
    kind = (
        gpu, kv_heads, heads // kv_heads, width, value_dim, cache.values is None, cache.scales is not None,
        softcap is not None, sinks is not None,
    )  # fmt: skip
    launch, programs, block = attend_launch(*kind, False)
    parts = parts or parts_of(batch * programs, capacity, block, gpu.multiprocessors)
    q = q.contiguous()
    out = q.new_empty((batch, heads, value_dim))
    sums = marks = None
    if parts > 1:
        launch, _, _ = attend_launch(*kind, True)
        sums = q.new_empty((batch, heads, parts, value_dim), dtype=torch.float32)
        marks = q.new_empty((batch, heads, parts, 2), dtype=torch.float32)
    key_scales, value_scales = cache.scales or (None, None)
    with on(q):
        launch(
            (parts, programs, batch), kinds(q, cache.keys, cache.values, lengths, sinks),
            q, cache.keys, cache.values, key_scales, value_scales, lengths, sinks, out, sums, marks,
            capacity, window or NO_WINDOW, *factors(scale, softcap),
        )  # fmt: skip
        if parts > 1:
            blocks = -(-value_dim // min(MERGE_COLUMNS, padded(value_dim)))
            merge_launch(gpu, value_dim, triton.next_power_of_2(parts), sinks is not None)(
                (batch * heads, blocks, 1), kinds(out, sinks), sums, marks, sinks, out, heads, parts
            )
    return out
