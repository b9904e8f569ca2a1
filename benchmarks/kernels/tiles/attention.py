"""Decode attention with other tiles, where it counts: within a layer of a decode step.

    python -m benchmarks.kernels.tiles.attention [--model llama-3-8b] [--batches 1 16] [--context 256]

The layer is that of `benchmarks.decode_layer`. Alone, a tile that takes shared memory from the kernels around
it looks faster than it is.
"""

import argparse
from collections.abc import Callable
from dataclasses import astuple
from functools import partial

import torch
from torch import Tensor

from benchmarks._table import hardware, table
from benchmarks.decode_layer import ATTENTION, MODELS, ROTATION, Attend, microseconds
from kernels import KeyValueCache
from kernels.attention_tiles import AttentionTile

OWN_POSITIONS: Callable[..., AttentionTile] = partial(AttentionTile, programs=2, apart=True)
SHARED_COLUMNS: Callable[..., AttentionTile] = partial(AttentionTile, programs=2, apart=False)
TILES = (
    *(OWN_POSITIONS(64, 4, stages, span=span) for stages, span in ((1, 64), (2, 64), (2, 128), (3, 128))),
    *(SHARED_COLUMNS(64, 4, stages, span=span) for stages, span in ((1, 64), (2, 64), (2, 128), (2, 256))),
    SHARED_COLUMNS(32, 4, 1, span=32),
    SHARED_COLUMNS(128, 8, 2, span=256),
)


def attend_with(tile: AttentionTile) -> Attend:
    """`kernels.rotate_and_attend` in one launch with this tile."""
    from kernels.attention_launch import attend_on_gpu

    def attend(  # noqa: PLR0917 — as the kernel's own
        qkv: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, lengths: Tensor, cache: KeyValueCache,
        *, heads: int, scale: float,
    ) -> Tensor:  # fmt: skip
        del positions, heads
        return attend_on_gpu(qkv, cache, lengths, scale=scale, angles=(cos, sin), tile=tile)

    return attend


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="llama-3-8b")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--context", type=int, default=256)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("Tiles are timed on a GPU, and there is none here.")
    shape = MODELS[given.model]
    added: dict[AttentionTile, list[str]] = {tile: [] for tile in TILES}
    for batch in given.batches:
        timed = partial(microseconds, shape, batch=batch, context=given.context, device="cuda")
        before, _ = timed(stage=ROTATION)
        for tile, cells in added.items():
            taken, _ = timed(stage=ATTENTION, attend=attend_with(tile))
            cells.append(f"{taken - before:.1f}")
    print(hardware(torch.device("cuda")))
    print(
        f"{given.model}, {given.context} tokens in the cache: µs more than a layer that only turns and stores"
    )
    header = ("block x warps x stages x span x programs x apart", *(f"batch {b}" for b in given.batches))
    print(table(header, [("x".join(map(str, astuple(tile))), *cells) for tile, cells in added.items()]))


if __name__ == "__main__":
    main()
