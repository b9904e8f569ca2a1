"""The launches of `ring_kernel`: tiles to try, and everything that one matrix and one tile decide."""

from dataclasses import dataclass

import torch
from torch import Tensor
from triton.experimental.gluon.language import NVMMASharedLayout
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from benchmarks.kernels.designs.ring_kernel import ring_kernel
from kernels.lane_layout import LaneMatrix
from kernels.launch import Launch, kind_of
from kernels.reorder import reorder_kernel
from kernels.wide_plan import BLOCK, REORDER_ROWS
from kernels.wide_unpack import block_text, scales_text

TILE_BYTES = 2048  # of words in a step of 16 rows
SHORTEST_SPAN = 2  # steps
SHARED = 227 << 10  # bytes that the programs of a multiprocessor share
NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16"}
X_LAYOUT = NVMMASharedLayout(128, 16, 3)
WORDS_LAYOUT = NVMMASharedLayout(0, 32, 3)


@dataclass(frozen=True)
class RingTile:
    """`rows` of x times `warps` * `row_tiles` * 16 rows of the weights a program.

    `stages` of `stage_blocks` * 64 columns of x and `slots` steps of words lie in shared memory; `programs` a
    multiprocessor; `sums`: scales meet the sums.
    """

    rows: int
    warps: int
    row_tiles: int
    stages: int
    stage_blocks: int
    slots: int
    programs: int
    sums: bool = False

    @property
    def outputs(self) -> int:
        """Rows of the weights that a program takes."""
        return 16 * self.warps * self.row_tiles

    @property
    def shared(self) -> int:
        """Bytes of the rings."""
        x = self.stages * self.stage_blocks * self.rows * BLOCK * 2
        return x + self.slots * self.warps * self.row_tiles * TILE_BYTES

    @property
    def registers(self) -> int:
        """That a thread may have, so that `programs` fit a multiprocessor."""
        return min(255, (1 << 16) // (32 * self.warps * self.programs) // 8 * 8)


class RingPlan:
    """What one matrix `[N, K]` of 8 or 4 bits and one tile decide.

    Its counters are zero between calls, so calls must follow each other on one stream. Raises ValueError
    where the tile does not suit the matrix.
    """

    def __init__(self, w: LaneMatrix, tile: RingTile, multiprocessors: int) -> None:
        groups = 0 if w.group_size is None else w.scales_per_step
        step_blocks = w.step // BLOCK
        sums = tile.sums and groups > 0
        if w.bits == 3 or w.pair != 2:
            raise ValueError("only 8 and 4 bits, in groups of a multiple of 32 or one scale a row")
        if sums and (groups > step_blocks or tile.stage_blocks != step_blocks):
            raise ValueError("scales meet sums of groups of 64 columns and more, in stages of a step")
        if step_blocks % tile.stage_blocks or w.n < tile.outputs:
            raise ValueError("the tile is too large")
        self.w = w
        self.tile = tile
        self.programs = tile.programs * multiprocessors
        self.n_blocks = -(-w.n // tile.outputs)
        self.scales = w.scales.view(w.dtype)
        words = w.words.view(w.tiles, w.steps * 4, 128)
        self.words = TensorDescriptor.from_tensor(words, [tile.warps, 4, 128], WORDS_LAYOUT)
        self.arrived = torch.zeros(self.n_blocks, dtype=torch.int32, device=w.words.device)
        in_weights = 0 if sums else groups
        constants = {
            "BITS": w.bits,
            "GROUPS": groups,
            "BM": tile.rows,
            "W": tile.warps,
            "R": tile.row_tiles,
            "STAGES": tile.stages,
            "XJ": tile.stage_blocks,
            "SLOTS": tile.slots,
            "LOAD_SCALES": scales_text(groups) if in_weights else "",
            "UNPACK": tuple(block_text(w.bits, NAMES[w.dtype], j, in_weights) for j in range(step_blocks)),
            "SUMS": sums,
            "DEPENDENT": True,
        }
        options = {"num_warps": tile.warps, "launch_pdl": True, "maxnreg": tile.registers}
        self.launches = {
            has_bias: Launch(ring_kernel, constants | {"HAS_BIAS": has_bias}, options)
            for has_bias in (False, True)
        }
        self.reorder_rows = min(tile.rows, REORDER_ROWS)
        self.reorder = Launch(
            reorder_kernel,
            {"ROWS": self.reorder_rows, "PAIR": w.pair, "DEPENDENT": True},
            {"num_warps": 4, "launch_pdl": True},
        )

    def span(self, blocks: int) -> int:
        """Steps of a program, for so many blocks of outputs."""
        steps = blocks * self.w.steps
        return max(SHORTEST_SPAN, -(-steps // self.programs))

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x `[M, K]` with contiguous rows → `[M, N]`, on the matrix's device, the current one; M ≥ 1."""
        w, tile = self.w, self.tile
        m_tiles = -(-x.shape[0] // tile.rows)
        x_rows = m_tiles * tile.rows
        columns = w.steps * w.step
        ordered = x.new_empty((columns // BLOCK, x_rows, BLOCK))
        self.reorder(
            (columns // BLOCK, x_rows // self.reorder_rows, 1), kind_of(x),
            x, ordered, x.shape[0], w.k, x_rows, x.stride(0),
        )  # fmt: skip
        blocks = self.n_blocks * m_tiles
        if blocks > len(self.arrived):
            self.arrived = self.arrived.new_zeros(blocks)
        span = self.span(blocks)
        programs = -(-blocks * w.steps // span)
        out = x.new_empty((x.shape[0], w.n))
        partial = x.new_empty((2 * programs, tile.outputs * tile.rows), dtype=torch.float32)
        box = [tile.stage_blocks, tile.rows, BLOCK]
        self.launches[bias is not None](
            (programs, 1, 1), kind_of(bias),
            TensorDescriptor.from_tensor(ordered, box, X_LAYOUT), self.words, self.scales, bias, out, partial,
            self.arrived, x.shape[0], w.n, x_rows, w.tiles, w.steps, m_tiles, blocks, span,
        )  # fmt: skip
        return out
