# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment, misc"
# ruff: noqa: PLR0917, RET505, RUF005 — Triton compiles one branch of an `if` and takes many arguments
"""The checkpoint's packing → lane order and back, on a GPU, at memory speed and nothing beside the result.

`kernels.packing` pictures the one, `kernels.lane_layout` the other.

    to lanes     A warp makes a step of a tile. Lane 4 g + t reads of rows g and 8 + g the runs of 8
                 neighbours (4 with PAIR = 1) that are its columns, for 4 bits a word each, and sorts their
                 codes into its words:   k   0 1 2 3 4 5 6 7   →   plane 0: (0 1) (2 3)   plane 1: (4 5) (6 7)
                                                                             h=0   h=1
    from lanes   A thread makes a word of a row and gathers its codes, two at a time: columns 2 t and 2 t + 1
                 are neighbours in both orders.

Reads of one are gathered, but from cache lines that are used whole soon; writes are contiguous. The warp that
makes a step also makes its scale words. On the way back scales are a small part, and torch lays them out.
"""

from functools import cache

import torch
import triton
import triton.language as tl

from kernels.lane_layout import (
    TILE_ROWS,
    LaneMatrix,
    as_stack,
    empty_lanes,
    empty_packed,
    packed_scales,
)
from kernels.launch import Launch
from kernels.packed_matrix import PackedMatrix

BLOCK = 512  # packed words that one program makes
WARPS = 4


@triton.jit
def moved(value, FROM: tl.constexpr, TO: tl.constexpr, WIDTH: tl.constexpr):
    """The WIDTH bits at FROM, at TO."""
    mask: tl.constexpr = ((1 << WIDTH) - 1) << TO
    if TO >= FROM:
        return (value << (TO - FROM)) & mask
    else:
        return (value >> (FROM - TO)) & mask


@triton.jit
def load_quads(
    row_ptr, first_k, t, K, row_words, exists,
    BITS: tl.constexpr, PAIR: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Of one row and step, for each plane the stored codes of lane t's four columns, from bit 0 on.

    `first_k` is the step's first column; past the matrix codes are the stored form of 0.
    """
    PLANES: tl.constexpr = 8 if BITS == 8 else 16
    QUAD: tl.constexpr = 4 * BITS  # bits
    ONES: tl.constexpr = 1 | 1 << BITS | 1 << 2 * BITS | 1 << 3 * BITS
    ZEROS: tl.constexpr = ONES << (BITS - 1)
    quads = ()
    for p in tl.static_range(PLANES):
        k = first_k + 16 * PAIR * (p // PAIR) + 4 * PAIR * t + 4 * (p % PAIR)
        inside = exists & (k < K)
        if BITS == 8 or p % PAIR == 0:  # two planes share what is loaded once
            bit = k * BITS
            word_ptr = row_ptr + bit // 32
            run = tl.load(word_ptr, mask=inside, other=0).to(tl.uint32, bitcast=True)
            if BITS == 4 and PAIR == 1:
                run = run >> (bit % 32).to(tl.uint32)
            if BITS == 3:
                place = (bit % 32).to(tl.uint32)
                crosses = inside & (place + PAIR * QUAD > 32) & (bit // 32 + 1 < row_words)
                rest = tl.load(word_ptr + 1, mask=crosses, other=0).to(tl.uint32, bitcast=True)
                run = (run >> place) | tl.where(crosses, rest << ((32 - place) % 32), 0)
            quad = run
        else:
            quad = run >> QUAD
        if not EVEN:
            count = tl.minimum(tl.maximum(tl.where(exists, K - k, 0), 0), 4)
            keep = tl.where(count == 4, 0xFFFFFFFF, (1 << (count * BITS % 32).to(tl.uint32)) - 1)
            quad = (quad & keep) | (ZEROS & (keep ^ 0xFFFFFFFF))
        quads = quads + (quad,)
    return quads


@triton.jit
def store_words(out, quads, lane, exists, SLOT: tl.constexpr, BITS: tl.constexpr, WARPS: tl.constexpr):
    """The words of one slot from the codes of its row, to their places in the step that starts at `out`."""
    COUNT: tl.constexpr = 16 // BITS
    FIRST: tl.constexpr = SLOT % 2 * 2 * BITS  # bit of code e = 0 in a quad
    words = ()
    for j in tl.static_range(3 if BITS == 3 else 4):
        word = tl.zeros((32 * WARPS,), tl.uint32)
        for i in tl.static_range(COUNT):
            quad = quads[j * COUNT + i]
            word = word | moved(quad, FIRST, BITS * i, BITS)
            word = word | moved(quad, FIRST + BITS, 16 + BITS * i, BITS)
        if BITS == 3:
            word = word | moved(quads[15], FIRST + j, 15, 1) | moved(quads[15], FIRST + BITS + j, 31, 1)
        words = words + (word.to(tl.int32, bitcast=True),)
    if BITS == 3:
        place = (out + SLOT * 64 + lane * 2)[:, None] + tl.arange(0, 2)[None, :]
        tl.store(place, tl.join(words[0], words[1]), mask=exists[:, None])
        tl.store(out + (256 + SLOT * 32 + lane), words[2], mask=exists)
    else:
        place = (out + SLOT * 128 + lane * 4)[:, None] + tl.arange(0, 4)[None, :]
        four = tl.join(tl.join(words[0], words[2]), tl.join(words[1], words[3]))
        tl.store(place, tl.reshape(four, (32 * WARPS, 4)), mask=exists[:, None])


@triton.jit
def store_scales(
    scales_ptr, out, first_n, first_group, group_spread, groups, N, lane, exists, COUNT: tl.constexpr
):
    """The scale words of a step, 8 rows of COUNT: row g's scale below that of row 8 + g, 0 past the matrix.

    `first_n` the tile's first row, of its matrix; COUNT places of a step, `group_spread` share a group.
    """
    for first in tl.static_range(0, 8 * COUNT, 32):
        at = first + lane
        n = first_n + at // COUNT
        group = (first_group + at % COUNT) // group_spread
        inside = exists & (at < 8 * COUNT) & (group < groups)
        place = scales_ptr + n.to(tl.int64) * groups + group
        low = tl.load(place, mask=inside & (n < N), other=0).to(tl.int32) & 0xFFFF
        high = tl.load(place + 8 * groups, mask=inside & (n + 8 < N), other=0).to(tl.int32) << 16
        tl.store(out + at, low | high, mask=exists & (at < 8 * COUNT))


@triton.jit(do_not_specialize=["units", "N", "K", "tiles", "steps", "row_words", "groups", "group_spread"])
def to_lanes_kernel(
    codes_ptr,  # int32 [E * N, row_words]
    words_ptr,  # int32 [E * tiles * steps, WORDS]
    scales_ptr,  # int16 [E * N, groups]: the bits of 16-bit numbers
    scale_words_ptr,  # int32 [E * tiles * steps, 8, SCALES], with one scale a row [E * tiles, 8]
    units,  # E * tiles * steps: a unit is a step of a tile
    N,
    K,
    tiles,
    steps,
    row_words,
    groups,  # scales of a row
    group_spread,  # places of a step that share one
    BITS: tl.constexpr,
    PAIR: tl.constexpr,
    SCALES: tl.constexpr,  # of a row in a step, 0: one a row
    EVEN: tl.constexpr,  # whole tiles and steps
    WARPS: tl.constexpr,
):
    STEP: tl.constexpr = 128 if BITS == 8 else 256
    WORDS: tl.constexpr = 384 if BITS == 3 else 512
    thread = tl.arange(0, 32 * WARPS)
    lane = thread % 32
    unit = tl.program_id(0) * WARPS + thread // 32
    tile = unit // steps  # of all experts
    step = unit - tile * steps
    expert = tile // tiles
    first_n = (tile - expert * tiles) * 16 + lane // 4
    out = words_ptr + unit.to(tl.int64) * WORDS
    for r8 in tl.static_range(2):
        n = first_n + 8 * r8
        exists = unit < units
        if not EVEN:
            exists = exists & (n < N)
        row = codes_ptr + (expert * N + n).to(tl.int64) * row_words
        quads = load_quads(row, step * STEP, lane % 4, K, row_words, exists, BITS, PAIR, EVEN)
        for h in tl.static_range(2):
            store_words(out, quads, lane, unit < units, 2 * r8 + h, BITS, WARPS)
    first_n = (tile - expert * tiles) * 16
    of_expert = scales_ptr + (expert * N).to(tl.int64) * groups
    if SCALES > 0:
        scale_words = scale_words_ptr + unit.to(tl.int64) * (8 * SCALES)
        store_scales(
            of_expert,
            scale_words,
            first_n,
            step * SCALES,
            group_spread,
            groups,
            N,
            lane,
            unit < units,
            SCALES,
        )
    else:
        one_each = (unit < units) & (step == 0)
        store_scales(of_expert, scale_words_ptr + tile * 8, first_n, 0, 1, 1, N, lane, one_each, 1)


@triton.jit
def field_pair(step_ptr, slot, lane, p, exists, BITS: tl.constexpr):
    """Stored codes e = 0 and 1 of plane p of a lane and slot."""
    mask: tl.constexpr = (1 << BITS) - 1
    if BITS == 3:
        j = tl.minimum(p // 5, 2)
        in_slot = slot * 32 + lane
        word_ptr = step_ptr + tl.where(j < 2, in_slot * 2 + j, 256 + in_slot)
        word = tl.load(word_ptr, mask=exists, other=0).to(tl.uint32, bitcast=True)
        place = (3 * (p % 5)).to(tl.uint32)
        is_last = exists & (p == 15)  # its bits are bit 15 of the fields of three words; this is the third
        first_ptr = step_ptr + in_slot * 2
        word0 = tl.load(first_ptr, mask=is_last, other=0).to(tl.uint32, bitcast=True)
        word1 = tl.load(first_ptr + 1, mask=is_last, other=0).to(tl.uint32, bitcast=True)
        bits = ((word0 >> 15) & 0x10001) | ((word1 >> 14) & 0x20002) | ((word >> 13) & 0x40004)
        word = tl.where(is_last, bits, word >> place)
    else:
        COUNT: tl.constexpr = 16 // BITS
        word_ptr = step_ptr + (slot * 32 + lane) * 4 + p // COUNT
        word = tl.load(word_ptr, mask=exists, other=0).to(tl.uint32, bitcast=True)
        word = word >> (BITS * (p % COUNT)).to(tl.uint32)
    return word & mask, (word >> 16) & mask


@triton.jit
def shifted(code, place, BITS: tl.constexpr):
    """`code` at bit `place` of a word; of 3 bits a part may stand outside."""
    if BITS == 3:
        up = code << (tl.maximum(place, 0) % 32).to(tl.uint32)
        whole = tl.where(place < 0, code >> tl.maximum(-place, 0).to(tl.uint32), up)
        return tl.where((place > -3) & (place < 32), whole, 0)
    else:
        return code << place.to(tl.uint32)


@triton.jit
def from_lanes_kernel(
    words_ptr,
    codes_ptr,
    N,
    K,
    tiles,
    steps,
    row_words,
    BITS: tl.constexpr,
    PAIR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    STEP: tl.constexpr = 128 if BITS == 8 else 256
    WORDS: tl.constexpr = 384 if BITS == 3 else 512
    PAIRS: tl.constexpr = 7 if BITS == 3 else 16 // BITS  # of neighbours that may lie in one word
    row = tl.program_id(0)  # of all experts; the first axis may be longer than 65535
    expert = row // N
    n = row - expert * N
    tile_ptr = words_ptr + (expert * tiles + n // 16).to(tl.int64) * steps * WORDS
    w = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first = w * 32 // BITS // 2 * 2
    out = tl.zeros((BLOCK,), tl.uint32)
    for i in tl.static_range(PAIRS):
        k = first + 2 * i
        column = k % STEP
        p = PAIR * (column // (16 * PAIR)) + column // 4 % PAIR
        lane = n % 8 * 4 + column // (4 * PAIR) % 4
        slot = n % 16 // 8 * 2 + column // 2 % 2
        low, high = field_pair(tile_ptr + k // STEP * WORDS, slot, lane, p, (w < row_words) & (k < K), BITS)
        place = k * BITS - w * 32
        out |= shifted(low, place, BITS)
        out |= tl.where(k + 1 < K, shifted(high, place + BITS, BITS), 0)
    tl.store(codes_ptr + row.to(tl.int64) * row_words + w, out.to(tl.int32, bitcast=True), mask=w < row_words)


def repack(packed: PackedMatrix, dtype: torch.dtype) -> LaneMatrix:
    """`kernels.lane_layout.to_lanes` on the GPU where `packed` lies, which must be the current device."""
    lanes = empty_lanes(packed, dtype)
    codes = packed.codes.contiguous()
    scales = packed.scales.to(dtype).contiguous().view(torch.int16)
    shared = lanes.scale_group
    spread = 1 if lanes.group_size is None or shared is None else lanes.group_size // shared
    units = lanes.words.numel() // lanes.words.shape[-1]
    scales_per_step = 0 if shared is None else lanes.scales_per_step
    even = lanes.n % TILE_ROWS == 0 and lanes.k % lanes.step == 0
    repack_launch(lanes.bits, lanes.pair, scales_per_step, even=even)(
        (triton.cdiv(units, WARPS), 1, 1), (codes.device, codes.data_ptr() % 16, scales.data_ptr() % 16),
        codes, lanes.words, scales, lanes.scales, units, lanes.n, lanes.k, lanes.tiles, lanes.steps,
        codes.shape[-1], scales.shape[-1], spread,
    )  # fmt: skip
    return lanes


@cache
def repack_launch(bits: int, pair: int, scales: int, *, even: bool) -> Launch:
    """The launch that all matrices of one scheme share; its numbers are not compiled in."""
    constants = {"BITS": bits, "PAIR": pair, "SCALES": scales, "EVEN": even, "WARPS": WARPS}
    return Launch(to_lanes_kernel, constants, {"num_warps": WARPS})


def unpack_lanes(lanes: LaneMatrix) -> PackedMatrix:
    """`kernels.lane_layout.from_lanes` on the GPU where `lanes` lies, which must be the current device."""
    packed = empty_packed(lanes)
    codes = packed.codes
    rows = codes.numel() // codes.shape[-1]
    from_lanes_kernel[(rows, triton.cdiv(codes.shape[-1], BLOCK))](
        lanes.words, codes, lanes.n, lanes.k, lanes.tiles, lanes.steps, codes.shape[-1],
        BITS=lanes.bits, PAIR=lanes.pair, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
    as_stack(packed.scales, 2).copy_(packed_scales(as_stack(lanes.scales, 4), lanes))
    return packed
