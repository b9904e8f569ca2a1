"""Which tile a matmul uses: pure functions of bits, group, shape and GPU. The table is short and stands here.

Measured on an NVIDIA H200 (torch 2.11.0+cu130, triton 3.6.0) by `python -m benchmarks.kernels --tiles 60`, on
the linears of an 8B Llama in bfloat16: the tiles and splits of int4-64, int8-channel and int3-64 at 1 and 16
rows, of int4-64 at 64 rows (qkv alone), and that int3 with 64 rows is better dequantized for cuBLAS.
Derived from those: every other number of rows and group size, the other limits of `fused_rows`, and other
GPUs, for which the compile tests check registers and shared memory (sm_80, sm_89, sm_90 and sm_100).
"""

from dataclasses import dataclass, replace


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


@dataclass(frozen=True)
class Shape:
    """One entry of the table: a tile without the parts that depend on the matrix."""

    outputs: int
    warps: int
    stages: int
    programs: int  # a multiprocessor: K is split until there are about so many


CODES_PER_COLUMN = {8: 2, 4: 4, 3: 32}
SMALLEST_GROUP = 16
LARGEST_SPLIT = 8  # more was not measured
# (bits, rows of a tile)
SHAPES = {
    (4, 8): Shape(64, 4, 3, 7),
    (4, 16): Shape(64, 2, 4, 7),
    (4, 32): Shape(64, 4, 4, 3),
    (4, 64): Shape(64, 4, 3, 3),
    (8, 8): Shape(64, 4, 4, 3),
    (8, 16): Shape(64, 4, 4, 3),
    (8, 32): Shape(64, 4, 4, 3),
    (8, 64): Shape(64, 4, 3, 2),
    (3, 8): Shape(64, 4, 2, 3),
    (3, 16): Shape(64, 4, 2, 3),
    (3, 32): Shape(64, 4, 2, 3),
}


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


def fused_rows(bits: int) -> int:
    """Most rows of x for the fused kernels; with more, unpacking once for a 16-bit matmul is faster."""
    return {8: 256, 4: 128, 3: 32}[bits]


def row_bucket(m: int) -> int:
    """`m` rounded up to a power of two from 8: one choice, and one compilation, serves all that share it."""
    return max(8, 1 << (m - 1).bit_length())


def choose_split(steps: int, shortest: int, tiles: int, slots: int, affordable: int) -> int:
    """Parts of K so that `tiles` programs become about `slots`, none shorter than `shortest` steps.

    A power of two: those were measured, and the parts come out even.
    """
    most = max(1, min(slots // tiles, affordable, steps // shortest, LARGEST_SPLIT))
    return 1 << (most.bit_length() - 1)


def choose_tile(bits: int, group_size: int | None, m: int, n: int, k: int, *, gpu: Gpu) -> Tile:
    """The tile for x `[m, k]` times a matrix `[n, k]`; the same for every m of a `row_bucket`."""
    m = row_bucket(m)
    columns = choose_columns(bits, group_size)
    # A step of int3 is 512 codes of K: more than 32 rows would not fit into registers and shared memory.
    rows = min(m, 32 if bits == 3 else 64)
    shape = SHAPES[bits, rows]
    if bits == 8 and m > 64:
        shape = Shape(128, 8, 3, 2)
    if group_size is not None and group_size < step_of(bits, columns):
        shape = replace(shape, warps=max(4, shape.warps))  # several scales a step: 2 warps would spill
    if gpu.capability >= 100:
        # 64 outputs would go through tensor memory, where the planes of int3 do not fit (the kernel comes out
        # empty) and every plane waits for the one before it; 32 outputs take the register path.
        shape = replace(shape, outputs=32, warps=4)
    tiles = -(-n // shape.outputs) * -(-m // rows)
    # Partial sums are written and read once in float32, mostly in L2: as many bytes as the weights at most.
    affordable = k * bits // 8 // (8 * m)
    steps = -(-k // step_of(bits, columns))
    slots = shape.programs * gpu.multiprocessors
    split = choose_split(steps, 2 if bits == 3 else 4, tiles, slots, affordable)
    return Tile(rows, shape.outputs, columns, split, shape.warps, shape.stages)


def choose_expert_tile(bits: int, group_size: int | None, rows_per_expert: float, gpu: Gpu) -> Tile:
    """The tile for routed rows: `rows_per_expert` on average. K is not split."""
    many = rows_per_expert > 16
    rows = (32 if bits == 3 else 64) if many else 16
    stages = 2 if bits == 3 and many else 3
    return Tile(rows, 32 if gpu.capability >= 100 else 64, choose_columns(bits, group_size), 1, 4, stages)
