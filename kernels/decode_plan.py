"""One matrix with one tile, ready for the decode kernel: what a call launches around the product."""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from kernels.decode import (
    LOAD,
    REGISTERS,
    decode_kernel,
    launch_options,
    uses_dependent_launch,
    walk_constants,
    whole_loads,
)
from kernels.epilogue import NOTHING, Epilogue, ScaledRows
from kernels.lane_layout import LaneMatrix
from kernels.launch import Launch
from kernels.tiles import Gpu, Tile

FEWEST_REGISTERS = 80  # of a thread; with fewer, words lie in memory
ROWS_OF_TILE = 16
SUMS = 128  # of a row tile and 8 rows of x


class Around(NamedTuple):
    """What a launch does beside the product."""

    activation: str | None = None
    bias: bool = False
    residual: bool = False
    norm: bool = False  # of x
    fed: bool = False  # x comes as `ScaledRows`
    feeds: bool = False  # the result goes as such


class DecodePlan:
    """Everything of a launch that one matrix `[N, K]` and one tile decide, so that a call decides little.

    Holds views of the matrix's tensors, no memory of its own. `paired` matrices have gate rows, then up rows.
    """

    def __init__(self, w: LaneMatrix, tile: Tile, gpu: Gpu, *, paired: bool = False) -> None:
        tiles, steps = w.tiles, w.steps
        blocks = tiles // 2 if paired else -(-tiles // tile.row_tiles)
        parts = -(-steps // tile.warps)
        programs = tile.programs * gpu.multiprocessors
        stream = tile.stream and programs > 0
        self.w = w
        self.paired = paired
        self.grid = (min(blocks * parts if stream else blocks, programs or blocks), 1, 1)
        self.outputs = w.n // 2 if paired else w.n
        self.sizes = (w.n, -(-w.k // LOAD) * LOAD, steps, tiles)
        # What programs leave each other of a block that they share.
        self.sums = (self.grid[0], tile.row_tiles * tile.n_tiles, SUMS)
        self.ready = torch.zeros(self.grid[0], dtype=torch.int32, device=w.words.device) if stream else None
        pdl = uses_dependent_launch(gpu)
        self.options = launch_options(tile, pdl, run_together(tile, blocks, gpu))
        self.constants = walk_constants(w, tile) | {
            "UNROLL": tile.unroll, "PERSISTENT": programs > 0, "STREAM": stream, "PDL": pdl,
        }  # fmt: skip
        self.launches: dict[Around, Launch] = {}

    def multiply(self, x: Tensor, epilogue: Epilogue = NOTHING) -> Tensor:
        """x `[M, K]` with contiguous rows → `[M, N]`, on the matrix's device, the current one.

        M is between 1 and the tile's rows. An activation needs a paired plan, a norm K % 8 == 0.
        """
        out = x.new_empty((x.shape[0], self.outputs))
        self.launch(x, epilogue, out)
        return out

    def multiply_and_scale(
        self, x: Tensor, epilogue: Epilogue, following: Tensor
    ) -> tuple[Tensor, ScaledRows]:
        """The same and the rows that `following` `[N]`, the weights of the next norm, make of it.

        bfloat16, and no activation.
        """
        m = x.shape[0]
        out = x.new_empty((m, self.outputs))
        scaled = ScaledRows(torch.empty_like(out), x.new_empty((m, self.w.tiles), dtype=torch.float32))
        self.launch(x, epilogue, out, following, scaled)
        return out, scaled

    def launch(
        self,
        x: Tensor,
        epilogue: Epilogue,
        out: Tensor,
        following: Tensor | None = None,
        scaled: ScaledRows | None = None,
    ) -> None:
        """Into `out` and `scaled`."""
        bias, residual, norm = epilogue.bias, epilogue.residual, epilogue.norm
        weight, fed, eps = None, None, 0.0
        if norm is not None:
            weight, eps = norm.weight, norm.eps
            if norm.scaled is not None:
                x, weight, fed = norm.scaled.rows, None, norm.scaled.squares
        x = whole_loads(x)
        around = Around(
            epilogue.activation, bias is not None, residual is not None, weight is not None, fed is not None,
            scaled is not None,
        )  # fmt: skip
        rows, squares = (None, None) if scaled is None else (scaled.rows, scaled.squares)
        sums = None if self.ready is None else x.new_empty(self.sums, dtype=torch.float32)
        launch = self.launches.get(around) or self.launch_for(around)
        launch(
            self.grid,
            (x.dtype, bias is None or bias.dtype, weight is None or weight.dtype),
            x, self.w.words, self.w.scales, bias, residual, weight, out, fed, following, rows, squares,
            sums, self.ready, x.shape[0], x.stride(0), *self.sizes, eps,
        )  # fmt: skip

    def launch_for(self, around: Around) -> Launch:
        """The kernel with these parts around the product."""
        parts = {
            "ACTIVATION": around.activation or "", "HAS_BIAS": around.bias, "HAS_RESIDUAL": around.residual,
            "NORM": around.norm, "FED": around.fed, "FEEDS": around.feeds,
            "PARTS": triton.next_power_of_2(-(-self.w.k // ROWS_OF_TILE)),
        }  # fmt: skip
        launch = Launch(decode_kernel, self.constants | parts, self.options)
        self.launches[around] = launch
        return launch


def run_together(tile: Tile, blocks: int, gpu: Gpu) -> int:
    """Programs that shall share a multiprocessor; 0: as many as find room.

    A tile that says none is meant to have all its blocks run at once: where three of them must share, a
    kernel of 82 registers, as groups of 64 make it, would let two.
    """
    needed = -(-blocks // gpu.multiprocessors)
    room = needed * tile.warps * 32 * FEWEST_REGISTERS <= REGISTERS
    return tile.programs or (needed if needed > 2 and room else 0)
