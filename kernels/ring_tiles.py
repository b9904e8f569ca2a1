"""Which tile a ring matmul uses, and when it is used: pure functions of bits and shape, from a short table.

Measured on an NVIDIA H200 (torch 2.11.0, triton 3.6.0) by `benchmarks.kernels.tiles`: int4 with groups of 128
in float16 at 16 to 128 rows of x, on the linears of an 8B Llama, OPT-30B and OPT-175B; some of them int3.
Derived from that: more rows, and the other schemes.
"""

from dataclasses import dataclass, replace

from kernels.tiles import row_bucket

LARGEST_RING = 2048  # rows of x; with more, unpacking once for a 16-bit matmul is faster
FEW_ROWS = 16
# Packed weights that are large enough to take FEW_ROWS from the decode kernel, and where that one would do a
# norm, an activation or a residual in the same launch.
LARGE_BYTES = 25_000_000
LARGE_BYTES_WITH_MORE = 75_000_000
# Weights of a matrix, times rows of x ÷ those of the tile: up to so many, smaller tiles fill the GPU better.
SMALL = 3e7
MEDIUM = 6e7
LARGE = 4e8
SMALL_256 = 1.8e8
LONG_ROWS = 16384
SHARED = 228 << 10  # bytes of a multiprocessor
RESERVED = 2 << 10  # that a program takes beside the ring
DEEPEST = 6  # steps
OTHER_REGISTERS = 32  # of a thread that adds up
FEED_REGISTERS = 24  # of a thread of the warp that feeds the others
WELL_FILLED = 0.8  # of the programs have a whole block in every round


@dataclass(frozen=True)
class RingTile:
    """How one ring matmul is cut up (see `kernels.ring`).

    A program takes `rows` of x times `warps` * `row_tiles` * 16 rows of the weights. `depth` steps lie in
    shared memory, their x in stages of `stage_blocks` * 64 columns; `programs` a multiprocessor. `sums`:
    scales meet the sums of their groups, where the groups allow it.
    """

    rows: int
    warps: int
    row_tiles: int
    depth: int
    stage_blocks: int
    programs: int
    sums: bool = False

    @property
    def outputs(self) -> int:
        """Rows of the weights that a program takes."""
        return 16 * self.warps * self.row_tiles

    def shared(self, bits: int) -> int:
        """Bytes of the ring, with scales for groups of 32 columns, the shortest that it knows."""
        blocks = step_blocks(bits)
        return self.depth * (128 * (blocks * self.rows + self.outputs) + 4 * blocks * self.outputs)

    @property
    def registers(self) -> int:
        """That a thread may have at its start, so that `programs` fit a multiprocessor.

        Threads come in groups of four warps, and the one warp that feeds the others takes one. It gives up
        most of its registers to them then.
        """
        return min(248, (1 << 16) // (32 * (self.warps + 4) * self.programs) // 8 * 8)

    @property
    def computing_registers(self) -> int:
        """That a thread of those that compute may have."""
        of_warps = self.registers * (self.warps + 4) - 4 * FEED_REGISTERS
        return min(240, of_warps // self.warps // 8 * 8)

    @property
    def shares_at_once(self) -> int:
        """Sums of other programs that a thread has registers to wait for at the same time: 1, 2, 4 or 8."""
        each = self.row_tiles * self.rows // 2
        room = (self.computing_registers - OTHER_REGISTERS) // each - 1
        return next((count for count in (8, 4, 2) if count <= room), 1)

    def of_bits(self, bits: int) -> "RingTile":
        """Itself; with 8 bits, whose steps are half as long, as many of them as there is room for."""
        if bits != 8:
            return self
        a_step = replace(self, depth=1).shared(bits)
        depth = min(DEEPEST, (SHARED // self.programs - RESERVED) // a_step)
        return replace(self, stage_blocks=min(2, self.stage_blocks), depth=depth)


def step_blocks(bits: int) -> int:
    """Blocks of 64 columns in a step of the weights."""
    return 2 if bits == 8 else 4


def takes_few(bits: int, n: int, k: int, *, more: bool) -> bool:
    """Whether a matrix `[n, k]` is so large that this kernel is faster than the decode one from 9 rows on.

    `more`: with a norm, an activation or a residual, which the decode kernel does in the same launch.
    """
    return n * k * bits >= 8 * (LARGE_BYTES_WITH_MORE if more else LARGE_BYTES)


def choose_ring_tile(bits: int, m: int, n: int, k: int, multiprocessors: int = 132) -> RingTile:
    """The tile for x `[m, k]` times a matrix `[n, k]`; the same for every m of a `row_bucket`."""
    return _tile(row_bucket(m), n, k, multiprocessors).of_bits(bits)


def _tile(m: int, n: int, k: int, multiprocessors: int) -> RingTile:
    weights = n * k
    if m <= FEW_ROWS:
        double = RingTile(16, 4, 2, 4, 4, 2, sums=True)
        if weights >= LARGE or k > LONG_ROWS or fills(double, m, n, multiprocessors):
            return double
        return RingTile(16, 4, 1, 4, 4, 3, sums=True)
    if m <= 32:
        if weights <= SMALL:
            return RingTile(16, 4, 1, 4, 4, 3, sums=True)
        double = RingTile(32, 4, 2, 3, 4, 2, sums=True)
        return double if fills(double, m, n, multiprocessors) else RingTile(32, 8, 1, 5, 4, 1, sums=True)
    if m <= 64 and weights <= SMALL:
        return RingTile(32, 8, 1, 5, 4, 1, sums=True)
    if (m <= 64 and weights <= MEDIUM) or (m <= 128 and weights <= SMALL):
        return RingTile(64, 4, 1, 2, 2, 2)
    double = RingTile(64, 8, 1, 2, 2, 2)
    if m <= 64 and fills(double, m, n, multiprocessors):
        return double
    if m <= 64 or (m <= 128 and weights <= MEDIUM):
        return RingTile(64, 8, 1, 4, 4, 1)
    largest = RingTile(256, 8, 1, 1, 1, 1)
    if m > 128 and (weights * m / 256 > SMALL_256 or fills(largest, m, n, multiprocessors)):
        return largest
    return RingTile(128, 8, 1, 2, 2, 1)


def fills(tile: RingTile, m: int, n: int, multiprocessors: int) -> bool:
    """Whether the blocks of `m` rows of x times `n` of weights keep nearly all programs busy to the end."""
    blocks = -(-n // tile.outputs) * -(-m // tile.rows)
    programs = tile.programs * multiprocessors
    return blocks / (-(-blocks // programs) * programs) >= WELL_FILLED
