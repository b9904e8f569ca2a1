# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment"
# ruff: noqa: PLR0917 — Triton takes many arguments
"""Routed rows cut into tiles of one expert each, for many rows: counted by chunks, never pair by pair.

    expert        2 0 2 2 0 7                          tiles of ROWS = 2 rows, those of one expert together:
    count_kernel  rows of each expert in each chunk
    place_kernel  where each chunk's rows of each       rows      1 4 │ 0 2 │ 3 - │ 5 -     -: nobody
                  expert begin; each tile's expert      experts   0   │ 2   │ 2   │ 7       4 tiles

An expert's last tile may be mostly nobody's. Where it has at most SMALL rows it is a small tile, of a list of
its own. `kernels.reorder.gather_kernel` adds a row's rank in its chunk and puts it there. An id of E or more
means "no expert": such a row gets no place. Nothing waits for the device: memory is made for the most tiles
that so many rows can need, and how many there are lies on the device.
"""

import triton
import triton.language as tl

from kernels.fragments import after_previous

CHUNK = 128  # rows that are counted together
PART = 32  # ids compared at a time
LARGEST_READ = 4096  # counts that are summed at a time


@triton.jit(
    do_not_specialize=["T", "experts", "places", "room"], do_not_specialize_on_alignment=["expert_ptr"]
)
def count_kernel(
    expert_ptr,  # [T]
    counts_ptr,  # int32 [chunks, IDS]
    tables_ptr,  # int32 [room]: the row of each place, below zero for nobody; then each tile's expert
    T,
    experts,
    places,
    room,
    IDS: tl.constexpr,  # power of two, at least the number of experts
    CHUNK: tl.constexpr,
    PART: tl.constexpr,
    WARPS: tl.constexpr,
    PDL: tl.constexpr,
):
    """Counts the rows of each expert in one chunk; all programs together empty the tables."""
    chunk = tl.program_id(0)
    within = tl.arange(0, CHUNK) + after_previous(WARPS, PDL)
    row = chunk * CHUNK + within
    ids = tl.load(expert_ptr + row, mask=row < T, other=-1).to(tl.int32)
    for first in range(0, IDS, PART):
        number = first + tl.arange(0, PART)
        same = (ids[:, None] == number[None, :]) & (number < experts)[None, :]
        tl.store(counts_ptr + chunk * IDS + number, tl.sum(same.to(tl.int32), 0))
    for first in range(chunk * CHUNK, room, tl.num_programs(0) * CHUNK):
        at = first + within
        # A tile that is not there has expert 0: it is read ahead, never multiplied.
        tl.store(tables_ptr + at, tl.where(at < places, -1, 0), mask=at < room)


@triton.jit(do_not_specialize=["chunks", "m_tiles", "small_tiles", "places"])
def place_kernel(
    counts_ptr,  # int32 [chunks, IDS]
    before_ptr,  # int32 [chunks, IDS]: an expert's rows in the chunks before
    start_ptr,  # int32 [3, IDS], see below
    expert_ptr,  # int32 [m_tiles + 1]: the expert of each tile, and at the end how many tiles there are
    small_ptr,  # int32 [small_tiles + 1]: likewise for the small tiles
    chunks,
    m_tiles,
    small_tiles,
    places,  # of the tiles of ROWS; those of the small ones follow
    ROWS: tl.constexpr,
    SMALL: tl.constexpr,  # rows of a small tile, 0: there are none
    IDS: tl.constexpr,
    READ: tl.constexpr,  # chunks at a time
    WARPS: tl.constexpr,
    PDL: tl.constexpr,
):
    """One program: the experts' tiles one after the other, in each the chunks one after the other.

    Row r of an expert has place r + start[0], or r + start[2] from start[1] on, where its small tile begins.
    """
    number = tl.arange(0, IDS) + after_previous(WARPS, PDL)
    total = tl.zeros((IDS,), tl.int32)
    for first in range(0, chunks, READ):
        chunk = first + tl.arange(0, READ)
        at = chunk[:, None] * IDS + number[None, :]
        counts = tl.load(counts_ptr + at, mask=(chunk < chunks)[:, None], other=0)
        before = total[None, :] + tl.cumsum(counts, 0) - counts
        tl.store(before_ptr + at, before, mask=(chunk < chunks)[:, None])
        total += tl.sum(counts, 0)
    rest = total % ROWS
    small = ((rest > 0) & (rest <= SMALL)).to(tl.int32)
    tiles = (total + (ROWS - 1)) // ROWS - small
    first_tile = tl.cumsum(tiles, 0) - tiles
    small_tile = tl.cumsum(small, 0) - small
    for i in range(tl.max(tiles, 0)):
        tl.store(expert_ptr + first_tile + i, number, mask=i < tiles)
    tl.store(expert_ptr + m_tiles, tl.sum(tiles, 0))
    tl.store(small_ptr + small_tile, number, mask=small > 0)
    tl.store(small_ptr + small_tiles, tl.sum(small, 0))
    tl.store(start_ptr + number, first_tile * ROWS)
    tl.store(start_ptr + IDS + number, tiles * ROWS)
    tl.store(start_ptr + 2 * IDS + number, places + small_tile * SMALL - tiles * ROWS)


def most_tiles(rows: int, experts: int, tile_rows: int, small_rows: int = 0) -> int:
    """The most tiles that `rows` routed rows can need, however they fall on the experts.

    Without the small ones: an expert's last tile is one where it has at most `small_rows` rows.
    """
    partly = (rows + experts * (tile_rows - small_rows - 1)) // tile_rows
    return max(1, min(rows // (small_rows + 1), partly))
