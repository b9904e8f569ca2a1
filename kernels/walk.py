# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0912, PLR0917, RET505, RUF005 — Triton compiles one branch of an `if` and takes many
# arguments
"""Device functions: one step of a warp along K, from the lane order to sums.

`kernels.lane_layout` says how words lie, `kernels.fragments` what A, B and C are. ROW_TILES tiles of 16
weight rows meet N_TILES tiles of 8 rows of x; warp w takes the steps w, w + WARPS, …

    for each plane p of the step
        every PAIR planes           load x
        every 4 (8 bits: 2, 3 bits: 5) planes    unpack one word of each slot
        sums += A(p) · B(p)                       ROW_TILES * N_TILES instructions of the matrix unit
        at the end of a group, or after 4 planes of a larger one       total += sums * scale
"""

import triton
import triton.language as tl

from kernels.fragments import (
    halves_of,
    load_words,
    load_x,
    multiply_fragments,
    multiply_pairs,
    normalize,
    zero_sums,
)
from kernels.unpack import unpack_3, unpack_3_last, unpack_4, unpack_8

STEP_OF_8_BITS = tl.constexpr(128)
STEP_OF_4_BITS = tl.constexpr(256)  # and of 3
WORDS_OF_STEP = tl.constexpr(512)
WORDS_OF_STEP_3 = tl.constexpr(384)


@triton.jit
def tile_pointers(words_ptr, scales_ptr, lane, BITS: tl.constexpr, GROUPS: tl.constexpr):
    """Where a lane's words (3 bits: the pairs and the third ones) and scales begin in tile 0, step 0."""
    scales = scales_ptr + lane // 4 * GROUPS
    if BITS == 3:
        return words_ptr + lane * 2, words_ptr + 256 + lane, scales
    else:
        return words_ptr + lane * 4, words_ptr, scales


@triton.jit
def load_tile(
    pointers,
    place,  # int64: tile * steps + step
    ok,  # int32: 0 where there is nothing to load
    policy,
    BITS: tl.constexpr,
    GROUPS: tl.constexpr,
    EVEN: tl.constexpr,
    HINT: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """The words of the four slots and the GROUPS scales of one tile's step. Scales are 0 where not `ok`."""
    slots = ()
    for slot in tl.static_range(4):
        if BITS == 3:
            pair = pointers[0] + place * WORDS_OF_STEP_3 + slot * 64
            third = pointers[1] + place * WORDS_OF_STEP_3 + slot * 32
            words = load_words(pair, ok, policy, 2, False, HINT, INTERPRET)
            words = words + load_words(third, ok, policy, 1, False, HINT, INTERPRET)
        else:
            words = load_words(
                pointers[0] + place * WORDS_OF_STEP + slot * 128, ok, policy, 4, False, HINT, INTERPRET
            )
        slots = slots + (words,)
    scales = ()
    WIDTH: tl.constexpr = GROUPS if GROUPS < 4 else 4
    if GROUPS > 0:
        for part in tl.static_range(GROUPS // WIDTH):
            pointer = pointers[2] + place * (8 * GROUPS) + part * WIDTH
            scales = scales + load_words(pointer, ok, policy, WIDTH, not EVEN, HINT, INTERPRET)
    return slots, scales


@triton.jit
def load_block(
    pointers,
    policy,
    block,
    part,
    warp,
    steps,
    tiles,
    tile_step,
    ROW_TILES: tl.constexpr,
    WARPS: tl.constexpr,
    PAIRED: tl.constexpr,
    BITS: tl.constexpr,
    GROUPS: tl.constexpr,
    EVEN: tl.constexpr,
    HINT: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """One part of a block's tiles; a block or step that does not exist is not read."""
    step = part * WARPS + warp
    first = block if PAIRED else block * ROW_TILES
    loaded = ()
    for r in tl.static_range(ROW_TILES):
        tile = first + r * tile_step
        inside = (step < steps) & (tile < tiles)
        if PAIRED:
            inside &= block < tile_step
        place = tile.to(tl.int64) * steps + step
        tile_words = load_tile(
            pointers, place, inside.to(tl.int32), policy, BITS, GROUPS, EVEN, HINT, INTERPRET
        )
        loaded = loaded + (tile_words,)
    return loaded


@triton.jit
def unpack_slots(slots, J: tl.constexpr, dtype: tl.constexpr, BITS: tl.constexpr, INTERPRET: tl.constexpr):
    """Word J of the four slots → for each plane in it the A of that plane."""
    codes = ()
    for slot in tl.static_range(4):
        if BITS == 8:
            codes = codes + (unpack_8(slots[slot][J], dtype, INTERPRET),)
        elif BITS == 4:
            codes = codes + (unpack_4(slots[slot][J], dtype, INTERPRET),)
        elif J < 3:
            codes = codes + (unpack_3(slots[slot][J], dtype, INTERPRET),)
        else:
            words = slots[slot]
            codes = codes + ((unpack_3_last(words[0], words[1], words[2], dtype, INTERPRET),),)
    return codes


@triton.jit
def load_rows(
    x_rows,
    norm_row,
    factors,
    at,  # words from the start of a row to this lane's part of the step
    last,  # the last whole load of a row
    Q: tl.constexpr,
    dtype: tl.constexpr,
    PAIR: tl.constexpr,
    EVEN_K: tl.constexpr,
    NORM: tl.constexpr,
    LATE: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """The B of planes PAIR * Q … for each tile of rows of x: as the product takes it, and as it lies there.

    With NORM the product takes it normalized; with LATE times the norm's weights only.
    """
    place = at + 8 * PAIR * Q
    if not EVEN_K:
        place = tl.minimum(place, last)
    if NORM:
        weight = load_x(norm_row + place, PAIR, INTERPRET)
    taken = ()
    lying = ()
    for nt in tl.static_range(len(x_rows)):
        words = load_x(x_rows[nt] + place, PAIR, INTERPRET)
        lying = lying + (words,)
        if NORM:
            scaled = ()
            for i in tl.static_range(2 * PAIR):
                if LATE:
                    scaled = scaled + (multiply_pairs(words[i], weight[i], INTERPRET),)
                else:
                    scaled = scaled + (normalize(words[i], weight[i], factors[nt], dtype, INTERPRET),)
            words = scaled
        taken = taken + (words,)
    return taken, lying


@triton.jit
def accumulate_step(
    tiles,  # ROW_TILES results of `load_tile`
    x_rows,  # N_TILES pointers to the row of x of this lane
    norm_row,
    factors,
    at,
    last,
    valid,  # float32: 0 where this warp has no step any more
    total,  # ROW_TILES * N_TILES C, with LATE another N_TILES: of the rows of x times themselves
    dtype: tl.constexpr,
    scale_dtype: tl.constexpr,
    BITS: tl.constexpr,
    GROUPS: tl.constexpr,
    PAIR: tl.constexpr,
    WARPS: tl.constexpr,
    EVEN: tl.constexpr,
    EVEN_K: tl.constexpr,
    NORM: tl.constexpr,
    LATE: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """`total` plus the products of one step."""
    ROW_TILES: tl.constexpr = len(tiles)
    N_TILES: tl.constexpr = len(x_rows)
    PLANES: tl.constexpr = 8 if BITS == 8 else 16
    CODES: tl.constexpr = 5 if BITS == 3 else 16 // BITS
    # Without groups the matrix unit adds to the total itself, unless a warp may be past the end.
    SCALED: tl.constexpr = GROUPS > 0 or not EVEN
    SPAN: tl.constexpr = PLANES // GROUPS if GROUPS > 0 else PLANES
    # Products of a chain wait for each other, and the compiler loads x no earlier than its turn comes: groups
    # of 128 in chains of 8 were slower than groups of 64 in chains of 4 (docs/kernels-h200.md).
    CHAIN: tl.constexpr = SPAN if SPAN < 4 else 4
    sums = total
    for p in tl.static_range(PLANES):
        if p % PAIR == 0:
            x, x_lying = load_rows(
                x_rows, norm_row, factors, at, last, p // PAIR, dtype, PAIR, EVEN_K, NORM, LATE, INTERPRET
            )
        if p % CODES == 0:
            codes = ()
            for r in tl.static_range(ROW_TILES):
                codes = codes + (unpack_slots(tiles[r][0], p // CODES, dtype, BITS, INTERPRET),)
        if SCALED and p % CHAIN == 0:
            sums = zero_sums(len(total), WARPS)
        added = ()
        for r in tl.static_range(ROW_TILES):
            c = codes[r]
            a = c[0][p % CODES], c[1][p % CODES], c[2][p % CODES], c[3][p % CODES]
            for nt in tl.static_range(N_TILES):
                x0 = x[nt][2 * (p % PAIR)]
                x1 = x[nt][2 * (p % PAIR) + 1]
                c_old = sums[r * N_TILES + nt]
                added = added + (multiply_fragments(a, x0, x1, c_old, dtype, WARPS, INTERPRET),)
        if LATE:
            for nt in tl.static_range(N_TILES):
                x0 = x_lying[nt][2 * (p % PAIR)]
                x1 = x_lying[nt][2 * (p % PAIR) + 1]
                c_old = sums[ROW_TILES * N_TILES + nt]
                rows = x0, x1, x0, x1
                added = added + (multiply_fragments(rows, x0, x1, c_old, dtype, WARPS, INTERPRET),)
        sums = added
        if SCALED and p % CHAIN == CHAIN - 1:
            added = ()
            for r in tl.static_range(ROW_TILES):
                if GROUPS > 0:
                    low, high = halves_of(tiles[r][1][p // SPAN], scale_dtype)
                else:
                    low = valid
                    high = valid
                for nt in tl.static_range(N_TILES):
                    t = total[r * N_TILES + nt]
                    s = sums[r * N_TILES + nt]
                    scaled = (t[0] + s[0] * low, t[1] + s[1] * low, t[2] + s[2] * high, t[3] + s[3] * high)
                    added = added + (scaled,)
            if LATE:
                for nt in tl.static_range(N_TILES):
                    t = total[ROW_TILES * N_TILES + nt]
                    s = sums[ROW_TILES * N_TILES + nt]
                    added = added + ((t[0] + s[0], t[1] + s[1], t[2] + s[2], t[3] + s[3]),)
            total = added
    if not SCALED:
        total = sums
    return total
