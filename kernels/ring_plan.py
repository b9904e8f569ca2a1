"""The ring kernel's launches: how a matmul is cut up, and everything that one matrix decides about it."""

import torch
from torch import Tensor
from triton.experimental.gluon.language import NVMMASharedLayout
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.lane_layout import LaneMatrix
from kernels.launch import Launch, kind_of
from kernels.reorder import reorder_kernel
from kernels.ring import ring_kernel
from kernels.ring_tiles import FEED_REGISTERS, RingTile, step_blocks
from kernels.wide_unpack import BLOCK, block_text

REORDER_ROWS = 32  # of x that a program reorders, at most
SHORTEST_SPAN = 2  # steps
# Columns that take as long as adding up a block that programs share, and more for each row of x: on an H200,
# 64 and 128 rows of x times Llama-8B's gate_up took 40.2 and 58.9 µs in shared blocks, 33.7 and 51.9 µs in
# whole ones, with a seventh of the GPU idle.
COST_OF_SHARING = 768
COST_OF_A_ROW = 8
LINE = 128  # words
NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16"}
X_LAYOUT = NVMMASharedLayout(128, 16, 3)
SCALES_LAYOUT = NVMMASharedLayout(0, 16, 3)
WORDS_LAYOUT = NVMMASharedLayout(0, 32, 3)


def box_lines(bits: int) -> int:
    """Lines of words that are copied together: all of a step, where that is a power of two."""
    return 1 if bits == 3 else 4


class RingPlan:
    """Everything of a launch that one matrix `[N, K]` and one tile decide, for `rows` of x.

    Or fewer. Holds no copy of the weights, and counters that are zero between calls: calls must follow each
    other on one stream. Raises ValueError where the tile does not suit the matrix.
    """

    def __init__(self, w: LaneMatrix, tile: RingTile, multiprocessors: int, rows: int) -> None:
        groups = 0 if w.group_size is None else w.scales_per_step
        blocks = step_blocks(w.bits)
        sums = tile.sums and 0 < groups <= blocks == tile.stage_blocks
        if w.pair != 2:
            raise ValueError("only groups of a multiple of 32, or one scale a row")
        if blocks % tile.stage_blocks or w.n < tile.outputs:
            raise ValueError("the tile is too large")
        self.w = w
        self.tile = tile
        self.programs = tile.programs * multiprocessors
        self.n_blocks = -(-w.n // tile.outputs)
        self.scales = w.scales.view(w.dtype)
        words = w.words.view(w.tiles, -1, LINE)
        box = [tile.warps, box_lines(w.bits), LINE]
        self.words = TensorDescriptor.from_tensor(words, box, WORDS_LAYOUT)
        scales = self.scales.view(w.tiles, -1, 16 * max(1, groups))
        box = [tile.warps, 1, 16 * max(1, groups)]
        self.scale_boxes = TensorDescriptor.from_tensor(scales, box, SCALES_LAYOUT)
        # One a block and team; captured graphs keep the address.
        counters = self.n_blocks * -(-rows // tile.rows) * (tile.warps // 4)
        self.arrived = torch.zeros(counters, dtype=torch.int32, device=w.words.device)
        in_weights = 0 if sums else groups
        constants = {
            "BITS": w.bits,
            "GROUPS": groups,
            "BM": tile.rows,
            "TEAMS": tile.warps // 4,
            "R": tile.row_tiles,
            "STAGES": tile.depth * blocks // tile.stage_blocks,
            "XJ": tile.stage_blocks,
            "REGISTERS": tile.computing_registers,
            "FEED_REGISTERS": FEED_REGISTERS,
            "UNPACK": tuple(
                block_text(w.bits, NAMES[w.dtype], j, in_weights, spread=True) for j in range(blocks)
            ),
            "SUMS": sums,
            "AT_ONCE": tile.shares_at_once,
            "DEPENDENT": True,
        }
        options = {"num_warps": 4, "launch_pdl": True, "maxnreg": tile.registers}
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
        """Steps of a program, for so many blocks of outputs: whole blocks where sharing them pays less."""
        whole = -(-blocks // self.programs) * self.w.steps
        shared = max(SHORTEST_SPAN, -(-blocks * self.w.steps // self.programs))
        cost = (COST_OF_SHARING + COST_OF_A_ROW * self.tile.rows) // self.w.step
        return whole if whole <= shared + cost else shared

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
        span = self.span(blocks)
        programs = -(-blocks * w.steps // span)
        out = x.new_empty((x.shape[0], w.n))
        slabs = 2 * programs if span % w.steps else 0  # none where all blocks are whole
        partial = x.new_empty((slabs, tile.outputs * tile.rows), dtype=torch.float32)
        box = [tile.stage_blocks, tile.rows, BLOCK]
        self.launches[bias is not None](
            (programs, 1, 1), kind_of(bias),
            TensorDescriptor.from_tensor(ordered, box, X_LAYOUT), self.words, self.scale_boxes, self.scales,
            bias, out, partial, self.arrived, x.shape[0], w.n, w.tiles, w.steps, m_tiles, blocks, span,
        )  # fmt: skip
        return out
