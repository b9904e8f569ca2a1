# mypy: allow-untyped-defs, allow-incomplete-defs
# ruff: noqa: PLR0917, RET505 — Triton compiles one branch of an `if` and takes many arguments
"""The checkpoint's packing → lane order and back, on a GPU, at memory speed and nothing beside the result.

`kernels.packing` pictures the one, `kernels.lane_layout` the other. Each thread makes whole words of the
result and gathers the codes in them, two at a time, because columns 2 t and 2 t + 1 are neighbours in both:

    to lanes     word [tile, step][slot 2 r8 + h][lane 4 g + t][j]  ←  for each of its planes p
                     row 16 tile + 8 r8 + g, codes k and k + 1, k = STEP step + column of (p, h, t)
    from lanes   word w of row n  ←  codes from 32 w / bits on, each pair from one field pair of one lane

    4 bits, one warp's reads of one plane:   2 rows x 4 runs of 16 bytes   the next planes read the rest

So reads are gathered, but from a few cache lines that are used whole; writes are contiguous. Scales are a
small part, and torch lays them out.
"""

import torch
import triton
import triton.language as tl

from kernels.lane_layout import (
    LaneMatrix,
    as_stack,
    empty_lanes,
    empty_packed,
    lane_scales,
    packed_scales,
)
from kernels.packed_matrix import PackedMatrix

STEPS = 4  # steps that one program makes
BLOCK = 512  # packed words that one program makes
WARPS = 4


@triton.jit
def two_codes(row_ptr, k, K, exists, BITS: tl.constexpr):
    """Stored codes k (even) and k + 1 of packed rows; past the matrix the stored form of 0."""
    half: tl.constexpr = 1 << (BITS - 1)
    bit = (k * BITS % 32).to(tl.uint32)
    word = row_ptr + k * BITS // 32
    inside = exists & (k < K)
    pair = tl.load(word, mask=inside, other=0).to(tl.uint32, bitcast=True) >> bit
    if BITS == 3:  # the pair may go on in the next word
        crosses = inside & (bit > 26) & (k * BITS // 32 + 1 < (K * BITS + 31) // 32)
        rest = tl.load(word + 1, mask=crosses, other=0).to(tl.uint32, bitcast=True)
        pair |= tl.where(crosses, rest << ((32 - bit) % 32), 0)
    first = tl.where(inside, pair & (2 * half - 1), half)
    second = tl.where(exists & (k + 1 < K), (pair >> BITS) & (2 * half - 1), half)
    return first, second


@triton.jit
def column_of(p, h, t, PAIR: tl.constexpr):
    """Column in its step of a lane's first code (e = 0) in plane p."""
    return 16 * PAIR * (p // PAIR) + 4 * PAIR * t + 4 * (p % PAIR) + 2 * h


@triton.jit
def lane_words(
    codes_ptr, words_ptr, first_unit, units, place_of_word, unit, slot, lane, j,
    N, K, tiles, steps, row_words,
    BITS: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    """Make the words j of these slots and lanes of these units (a unit is a step of a tile)."""
    STEP: tl.constexpr = 128 if BITS == 8 else 256
    WORDS: tl.constexpr = 384 if BITS == 3 else 512
    COUNT: tl.constexpr = 16 // BITS
    unit = first_unit + unit
    tile = unit // steps  # of all experts
    step = unit - tile * steps
    expert = tile // tiles
    n = (tile - expert * tiles) * 16 + slot // 2 * 8 + lane // 4
    exists = (unit < units) & (n < N)
    rows = codes_ptr + (expert * N + n).to(tl.int64) * row_words
    first_k = step * STEP
    word = tl.zeros(slot.shape, tl.uint32)
    for i in tl.static_range(COUNT):
        k = first_k + column_of(j * COUNT + i, slot % 2, lane % 4, PAIR)
        low, high = two_codes(rows, k, K, exists, BITS)
        word |= (low << (BITS * i)) | (high << (16 + BITS * i))
    if BITS == 3:
        k = first_k + column_of(15, slot % 2, lane % 4, PAIR)
        low, high = two_codes(rows, k, K, exists, BITS)
        bit = j.to(tl.uint32)
        word |= (((low >> bit) & 1) << 15) | (((high >> bit) & 1) << 31)
    tl.store(
        words_ptr + unit.to(tl.int64) * WORDS + place_of_word,
        word.to(tl.int32, bitcast=True),
        mask=unit < units,
    )


@triton.jit
def to_lanes_kernel(
    codes_ptr,  # int32 [E * N, row_words]
    words_ptr,  # int32 [E * tiles * steps, WORDS]
    units,  # E * tiles * steps
    N,
    K,
    tiles,
    steps,
    row_words,
    BITS: tl.constexpr,
    PAIR: tl.constexpr,
    STEPS: tl.constexpr,
):
    first_unit = tl.program_id(0) * STEPS
    if BITS == 3:
        place = tl.arange(0, STEPS * 256)
        of_step = place % 256
        lane_words(
            codes_ptr, words_ptr, first_unit, units, of_step, place // 256, of_step // 64,
            of_step // 2 % 32, of_step % 2, N, K, tiles, steps, row_words, BITS, PAIR,
        )  # fmt: skip
        place = tl.arange(0, STEPS * 128)
        of_step = place % 128
        lane_words(
            codes_ptr, words_ptr, first_unit, units, of_step + 256, place // 128, of_step // 32,
            of_step % 32, of_step * 0 + 2, N, K, tiles, steps, row_words, BITS, PAIR,
        )  # fmt: skip
    else:
        place = tl.arange(0, STEPS * 512)
        of_step = place % 512
        lane_words(
            codes_ptr, words_ptr, first_unit, units, of_step, place // 512, of_step // 128,
            of_step // 4 % 32, of_step % 4, N, K, tiles, steps, row_words, BITS, PAIR,
        )  # fmt: skip


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
    units = lanes.words.numel() // lanes.words.shape[-1]
    to_lanes_kernel[(triton.cdiv(units, STEPS),)](
        codes, lanes.words, units, lanes.n, lanes.k, lanes.tiles, lanes.steps, codes.shape[-1],
        BITS=lanes.bits, PAIR=lanes.pair, STEPS=STEPS, num_warps=2 * WARPS,
    )  # fmt: skip
    as_stack(lanes.scales, 4).copy_(lane_scales(as_stack(packed.scales, 2).to(dtype), lanes))
    return lanes


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
