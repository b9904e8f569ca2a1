"""The wide kernel's launches: how a matmul is cut up, and everything that one matrix decides about it."""

import torch
from torch import Tensor

from kernels.lane_layout import LaneMatrix
from kernels.launch import Launch, kind_of
from kernels.reorder import reorder_kernel
from kernels.wide import wide_kernel
from kernels.wide_tiles import WideTile
from kernels.wide_unpack import block_text, scales_text

BLOCK = 64  # columns that one call of the matrix unit takes
REORDER_ROWS = 32
LARGEST_SPLIT = 8
SHORTEST_PART = 2  # steps


def wide_constants(w: LaneMatrix, tile: WideTile) -> dict[str, object]:
    """The compile-time constants that one matrix, or a stack, and one tile decide."""
    dtype = {torch.float16: "fp16", torch.bfloat16: "bf16"}[w.dtype]
    groups = 0 if w.group_size is None else w.scales_per_step
    # The words of a step arrive with an activation stage that is awaited before the step begins.
    slots = 1 + -(-(tile.stages - 2) * tile.stage_blocks // (w.step // BLOCK))
    return {
        "BITS": w.bits,
        "GROUPS": groups,
        "BM": tile.rows,
        "W": tile.warps,
        "R": tile.row_tiles,
        "STAGES": tile.stages,
        "XJ": tile.stage_blocks,
        "SLOTS": slots,
        "LOAD_SCALES": scales_text(groups) if groups else "",
        "UNPACK": tuple(block_text(w.bits, dtype, block, groups) for block in range(w.step // BLOCK)),
    }


class WidePlan:
    """Everything of a launch that one matrix `[N, K]` and one tile decide.

    Holds no copy of the weights, and counters that are zero between calls: calls must follow each other on
    one stream.
    """

    def __init__(self, w: LaneMatrix, tile: WideTile, multiprocessors: int) -> None:
        self.lanes = w
        self.tile = tile
        self.programs = tile.programs * multiprocessors
        self.n_blocks = -(-w.n // (16 * tile.warps * tile.row_tiles))
        self.scales = w.scales.view(w.dtype)
        # Only where two programs or more share a block; captured graphs keep the address.
        self.arrived = torch.zeros(self.programs // 2, dtype=torch.int32, device=w.device)
        constants = wide_constants(w, tile) | {"DEPENDENT": True, "ROUTED": False}
        options = {"num_warps": tile.warps, "launch_pdl": True, "maxnreg": tile.registers}
        self.launches = {
            has_bias: Launch(wide_kernel, constants | {"HAS_BIAS": has_bias}, options)
            for has_bias in (False, True)
        }
        self.reorder_rows = min(tile.rows, REORDER_ROWS)
        self.reorder = Launch(
            reorder_kernel,
            {"ROWS": self.reorder_rows, "PAIR": w.pair, "DEPENDENT": True},
            {"num_warps": 4, "launch_pdl": True},
        )

    def cut(self, blocks: int) -> tuple[int, int]:
        """(programs that share a block, steps of a program) for so many blocks of outputs."""
        steps = self.lanes.steps
        parts = min(LARGEST_SPLIT, self.programs // blocks, steps // SHORTEST_PART)
        if parts <= 1:
            return 1, -(-blocks // self.programs) * steps
        span = -(-steps // parts)
        return -(-steps // span), span

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x `[M, K]` with contiguous rows → `[M, N]`, on the matrix's device, the current one; M ≥ 1."""
        w = self.lanes
        m = x.shape[0]
        m_tiles = -(-m // self.tile.rows)
        x_rows = m_tiles * self.tile.rows
        columns = w.steps * w.step
        ordered = x.new_empty((columns // BLOCK, x_rows, BLOCK))
        self.reorder(
            (columns // BLOCK, x_rows // self.reorder_rows, 1),
            kind_of(x),
            x,
            ordered,
            m,
            w.k,
            x_rows,
            x.stride(0),
        )
        blocks = self.n_blocks * m_tiles
        parts, span = self.cut(blocks)
        programs = blocks * parts if parts > 1 else -(-blocks * w.steps // span)
        out = x.new_empty((m, w.n))
        slabs = programs if parts > 1 else 0
        partial = x.new_empty(
            (slabs, 16 * self.tile.warps * self.tile.row_tiles * self.tile.rows), dtype=torch.float32
        )
        self.launches[bias is not None](
            (programs, 1, 1), kind_of(bias),
            ordered, w.words, self.scales, bias, out, partial, self.arrived,
            None, None, m, w.n, x_rows, w.tiles, w.steps, m_tiles, blocks, parts, span,
        )  # fmt: skip
        return out
