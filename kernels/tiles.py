"""Which tile a matmul uses: pure functions of bits, group, shape and GPU. The table is short and stands here.

The entries are derived from the register and shared-memory limits that the compile tests check for sm_80,
sm_89, sm_90 and sm_100; `python -m benchmarks.kernels --tiles 60` measures others on the GPU at hand.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """How one fused matmul is cut up.

    `rows` of the activations (BM), `outputs` = rows of the weights (BN), `columns` units of packed codes a
    step (see `kernels.accumulate`), `split` parts of K that are summed in order afterwards, `warps` and
    pipeline `stages`.
    """

    rows: int
    outputs: int
    columns: int
    split: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Gpu:
    """What the choice depends on. `capability` 90 is compute capability 9.0."""

    capability: int = 90
    multiprocessors: int = 132  # H100, H200


CODES_PER_COLUMN = {8: 2, 4: 4, 3: 32}
FUSED_ROWS = (
    256  # with more rows, unpacking once for a 16-bit matmul is cheaper than unpacking in every row tile
)
SMALLEST_GROUP = 16


def step_of(bits: int, columns: int) -> int:
    """Codes along K that one step of the walk takes."""
    return CODES_PER_COLUMN[bits] * columns


def constants_of(bits: int, group_size: int | None, k: int, tile: Tile) -> dict[str, int]:
    """The compile-time constants that the fused kernels share."""
    return {
        "BITS": bits,
        "GROUP": group_size or 0,
        "BM": tile.rows,
        "BN": tile.outputs,
        "COLUMNS": tile.columns,
        "EVEN_K": int(k % step_of(bits, tile.columns) == 0),
    }


def supports_group(group_size: int | None) -> bool:
    """Whether the fused kernels know this group size: channel, or a power of two from 16."""
    return group_size is None or (group_size >= SMALLEST_GROUP and group_size & (group_size - 1) == 0)


def choose_columns(bits: int, group_size: int | None) -> int:
    """As many columns as keep a step inside one group, but at least the 16 that the matrix unit needs."""
    if bits == 3:
        return 16
    widest = 64 if bits == 8 else 32  # 128 codes a step
    if group_size is None:
        return widest
    return max(16, min(widest, group_size // CODES_PER_COLUMN[bits]))


def choose_split(steps: int, shortest: int, tiles: int, slots: int, affordable: int) -> int:
    """Parts of K so that `tiles` programs become about `slots`, none shorter than `shortest` steps."""
    return max(1, min(slots // tiles, affordable, steps // shortest, 16))


def choose_tile(bits: int, group_size: int | None, m: int, n: int, k: int, *, gpu: Gpu) -> Tile:
    """The tile for x `[m, k]` times a matrix `[n, k]`."""
    columns = choose_columns(bits, group_size)
    if bits == 3:  # a step is 512 codes of K: more rows would not fit into registers and shared memory
        rows, outputs, warps, stages, per_processor = (16, 64, 4, 3, 3) if m <= 16 else (32, 64, 4, 2, 2)
    elif m <= 16:
        rows, outputs, warps, stages, per_processor = 16, 64, 4, 4, 4
    elif m <= 32:
        rows, outputs, warps, stages, per_processor = 32, 64, 4, 4, 3
    elif m <= 64:
        rows, outputs, warps, stages, per_processor = 64, 64, 4, 3, 2
    else:
        rows, outputs, warps, stages, per_processor = 64, 128, 8, 3, 2
    if gpu.capability >= 100:
        # 64 outputs would go through tensor memory, where the planes of int3 do not fit (the kernel comes out
        # empty) and every plane waits for the one before it; 32 outputs take the register path.
        outputs, warps = 32, 4
    tiles = -(-n // outputs) * -(-m // rows)
    # Partial sums are written and read once in float32; they may cost a quarter of the weights' bytes.
    affordable = k * bits // 8 // (4 * 8 * m)
    steps = -(-k // step_of(bits, columns))
    slots = per_processor * gpu.multiprocessors
    split = choose_split(steps, 2 if bits == 3 else 4, tiles, slots, affordable)
    return Tile(rows, outputs, columns, split, warps, stages)


def choose_expert_tile(bits: int, group_size: int | None, rows_per_expert: float, gpu: Gpu) -> Tile:
    """The tile for routed rows: `rows_per_expert` on average. K is not split."""
    many = rows_per_expert > 16
    rows = (32 if bits == 3 else 64) if many else 16
    stages = 2 if bits == 3 and many else 3
    return Tile(rows, 32 if gpu.capability >= 100 else 64, choose_columns(bits, group_size), 1, 4, stages)
