"""Which tiles routed rows use: a pure function of bits and shape, from a short table.

Measured on an NVIDIA H200 (torch 2.11.0, triton 3.6.0) when plain matrices used the same tiles: int4 with
groups of 64 in float16, on the linears of an 8B Llama at 32 to 4096 rows. Derived from that: the other
schemes, and which tile so many rows of an expert use.
"""

from dataclasses import dataclass

SMALLEST_WIDE_OUTPUT = 256  # rows of the weights: one program's, at most
WIDE_CAPABILITY = 90
MOST_WALKED = 12  # routed rows an expert, on average, up to which the kernel for few rows multiplies them
# TFLOP/s by rows of a tile, from 32, 64, 128 and 256 rows of x times OPT-175B's fc1 in docs/kernels-h200.md.
TILE_SPEEDS = {32: 217, 64: 388, 128: 559, 256: 723}
SMALL_TILES = {256: 64}  # with tiles of so many rows: the small ones beside them
END_OF_BLOCK = 256  # columns that take as long as storing a block, while no other program multiplies


@dataclass(frozen=True)
class WideTile:
    """How a product of routed rows is cut up (see `kernels.wide`).

    A block is `rows` of x (BM) and `warps` times `row_tiles` times 16 rows of the weights. The ring of the
    activations has `stages` of `stage_blocks` times 64 columns. `programs` a multiprocessor, whose threads
    use `registers` at most, so that they fit.
    """

    rows: int
    warps: int
    row_tiles: int
    stages: int
    stage_blocks: int
    programs: int
    registers: int = 255

    @property
    def outputs(self) -> int:
        """Rows of the weights in a block."""
        return 16 * self.warps * self.row_tiles


def wide_tile(bits: int, rows: int) -> WideTile:
    """The tile of so many rows of x, one of those of `TILE_SPEEDS`."""
    if rows == 32:
        return WideTile(32, 4, 2, 4, 2, 2)
    if rows == 64 and bits == 8:
        return WideTile(64, 4, 2, 6, 1, 2)  # as much in flight, in so little memory that two programs fit
    if rows == 64:
        return WideTile(64, 4, 2, 4, 2, 2)
    if rows == 128:
        return WideTile(128, 8, 1, 4, 2, 1)
    return WideTile(256, 8, 1, 4, 1, 1)


def choose_routed_tiles(bits: int, rows_per_expert: float, k: int) -> tuple[WideTile, WideTile | None]:
    """The tile for routed rows, `rows_per_expert` on average, times a stack of matrices of `k` columns.

    And the one for the last rows of an expert where they fill so little of it that this pays. Of an expert's
    last tile half is empty on average: larger tiles multiply faster, but more of nothing. Derived from
    `TILE_SPEEDS`, not measured.
    """

    def cost(rows: int) -> float:
        small = SMALL_TILES.get(rows, 0)
        last = rows / TILE_SPEEDS[rows]
        if small and rows_per_expert >= rows:  # so that any number of rows is as likely in the last tile
            last += small / rows * (small / TILE_SPEEDS[small] - last)
        full = max(0.0, rows_per_expert - rows / 2) / TILE_SPEEDS[rows]
        alone = wide_tile(bits, rows).programs == 1
        return (full + last) * (k + END_OF_BLOCK * alone)

    rows = min(TILE_SPEEDS, key=cost)
    return wide_tile(bits, rows), wide_tile(bits, SMALL_TILES[rows]) if rows in SMALL_TILES else None
