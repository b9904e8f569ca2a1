"""How a fused matmul is cut up: a pure function of GPU, bits, group and shape, from a short table.

Measured on an NVIDIA H200 (torch 2.11.0, triton 3.6.0): int4 and int3 with groups of 64 and int8 with one
scale a row, in float16 at 1, 8 and 16 rows, on the linears of an 8B Llama and on 12288 x 12288; int4 with
groups of 64 at 1 row in bfloat16, on those of a 70B Llama, OPT-30B, OPT-66B and OPT-175B, with groups of 128,
int8 and int3 on some of them. Derived from that: every other scheme and number of rows, experts, and other
GPUs, for which the compile tests check registers and spills (sm_80, sm_89, sm_90 and sm_100).
"""

from dataclasses import dataclass, replace

LARGEST_FUSED = 32  # rows of x; with more, other ways are faster
SMALLEST_GROUP = 16
LARGEST_UNSORTED = 64  # routed rows; with more, sorting them by expert pays
SHORT_ROWS = 6144  # columns
FEW_STEPS = 64
LONG_STEPS = 96
MOSTLY_BUSY = 0.95
SHORT_GROUP = 64  # columns; scales of shorter groups take the registers of more programs


@dataclass(frozen=True)
class Tile:
    """How one fused matmul is cut up (see `kernels.decode`).

    `n_tiles` times 8 rows of x; `row_tiles` times 16 rows of the weights a block; `warps` that share K;
    `depth` parts are read ahead; `programs` a multiprocessor that go from block to block, 0 for a program a
    block; `unroll` turns of the loop are one to the compiler; of a block whose parts `turn` divides, so many
    are one turn, and it ends with one.
    """

    n_tiles: int
    row_tiles: int
    warps: int
    depth: int
    programs: int
    unroll: int = 1
    stream: bool = False


@dataclass(frozen=True)
class Gpu:
    """What the choice depends on. `capability` 90 is compute capability 9.0."""

    capability: int = 90
    multiprocessors: int = 132  # H100, H200


def supports_group(group_size: int | None) -> bool:
    """Whether the fused kernels know this group size: channel, or a multiple of 16."""
    return group_size is None or (group_size > 0 and group_size % SMALLEST_GROUP == 0)


def row_bucket(m: int) -> int:
    """`m` rounded up to a power of two from 8: one choice, and one compilation, serves all that share it."""
    return max(8, 1 << (m - 1).bit_length())


def choose_tile(
    bits: int, group_size: int | None, m: int, n: int, k: int, *, gpu: Gpu, paired: bool = False
) -> Tile:
    """The tile for x `[m, k]`, m ≤ 32, times a matrix `[n, k]`; the same for every m of a `row_bucket`.

    `paired` blocks take a gate tile and its up tile together.
    """
    n_tiles = row_bucket(m) // 8
    steps = -(-k // (128 if bits == 8 else 256))
    tiles = -(-n // 16)
    slots = 2 * gpu.multiprocessors
    few_scales = group_size is None or group_size >= SHORT_GROUP
    three = 3 if few_scales else 2
    if n_tiles > 2:
        tile = Tile(n_tiles, 2 if paired else 1, 4, 1, 2)
    elif paired:
        tile = (
            Tile(n_tiles, 2, 4, 1, three if n_tiles == 1 else 2, stream=few_scales)
            if tiles > slots
            else Tile(n_tiles, 2, 8, 1, 1)
        )
    elif n_tiles == 2:
        # x is read once for 32 rows of the weights; where those are few, more warps share K.
        tile = Tile(2, 2, 4, 1, 2) if tiles > slots else Tile(2, 2, 8, 1, 1)
    elif slots < tiles <= 2 * slots and k <= SHORT_ROWS:
        # One wave and a half: all at once.
        tile = Tile(1, 1, 8, 1, 3) if bits == 8 else Tile(1, 1, 4, 2, 0)
    elif steps % 8 and steps % 4 == 0 and steps <= FEW_STEPS and tiles <= 2 * slots:
        # 8 warps would wait for some of them in the last round.
        tile = Tile(1, 1, 4, 1, 4)
    elif not few_scales:
        tile = Tile(1, 1, 8, 1, 2)
    elif tiles > 2 * slots or (tiles > slots and busy(tiles, slots) * busy(steps, 8) < MOSTLY_BUSY):
        # No word is moved from register to register in a loop of two parts.
        long = bits == 8 or steps >= LONG_STEPS
        tile = Tile(1, 1, 8, 1, 2, 2, stream=True) if long else Tile(1, 1, 4, 1, 4, 2, stream=True)
    elif bits == 4:
        tile = Tile(1, 1, 8, 1, 2, unroll=2)
    else:
        tile = Tile(1, 1, 8, 2, 2)
    warps = tile.warps
    while warps > 1 and warps > steps:
        warps //= 2
    return replace(tile, warps=warps)


def busy(work: int, workers: int) -> float:
    """How much of the time workers are busy who take this work in rounds."""
    return work / (-(-work // workers) * workers)


def choose_expert_tile(
    bits: int, group_size: int | None, rows_per_expert: float, n: int, k: int, *, gpu: Gpu
) -> Tile:
    """The tile for routed rows, `rows_per_expert` on average, times a stack of matrices `[n, k]`."""
    steps = -(-k // (128 if bits == 8 else 256))
    n_tiles = 1 if rows_per_expert <= 4 else 2 if rows_per_expert <= 12 else 4
    warps = 4
    while warps > 1 and warps > steps:
        warps //= 2
    return Tile(n_tiles, 1, warps, 1, 0)
