"""How decode attention over a cache is cut up: parts of the context, and blocks of positions within them.

A program reads one part for up to 16 (32) query heads of a key head. Its cost is a chain of waits, not of
products: the length, then keys and values, then the sums of the warps, then, where there are several parts,
a counter and the parts of the others. So a context of up to `span` positions is one part and pays for no
counter, and a longer one is cut into as many as the GPU runs at once.

Where a warp has positions of its own (`apart`), the warps do not meet before the end of a part; a wide value
(of a latent, or of heads of more than 128 columns) has no room for that in the registers, so there the warps
share the columns and meet at each block.
"""

from dataclasses import dataclass

from kernels.tiles import Gpu

MOST_PARTS = 64
WIDEST_APART = 128  # columns of a value: 64 registers of a thread are its sums
MOST_APART = 16  # query heads: the rows of one product
MERGED_BYTES = 256 << 10  # that the last program of a head reads; more are added by a launch of their own


@dataclass(frozen=True)
class AttentionTile:
    """How one call is cut up.

    `block` positions at a time, by all `warps`; `stages` blocks are read ahead; a part has at least `span`
    positions, whole blocks; `programs` a multiprocessor that the parts aim at. `block` and `warps` are powers
    of two; a warp with positions of its own takes 16 of a block or more, as a product does.
    """

    block: int
    warps: int
    stages: int
    span: int
    programs: int
    apart: bool


def choose_attention_tile(
    rows: int, main: int, value: int, width: int, *, latent: bool, gpu: Gpu
) -> AttentionTile:
    """The tile for `rows` query heads a program, keys of `main` and values of `value` columns.

    Both are powers of two; `width`: bytes of a query's number.
    """
    if latent or width > 2 or max(main, value) > WIDEST_APART or rows > MOST_APART:
        block = 64 if main <= 128 else 32
        return AttentionTile(
            block, 8 if rows * value > 8192 else 4, stages=2, span=block, programs=2, apart=False
        )
    # In a layer of Llama-8B on an H200, 256 tokens, this took 6.1 µs at batch 1 and 12.7 at 16. Three stages
    # took 9.9 and 17.1: shared memory that the kernels around do not have.
    return AttentionTile(64, 4, stages=2, span=64, programs=2, apart=True)


def parts_of(tile: AttentionTile, programs: int, capacity: int, gpu: Gpu) -> int:
    """The most parts of a context, so that every multiprocessor has work; `programs` make one part of all."""
    wanted = -(-tile.programs * gpu.multiprocessors // programs)
    return max(1, min(MOST_PARTS, wanted, -(-capacity // tile.span)))
