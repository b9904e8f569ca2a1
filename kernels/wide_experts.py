"""Many routed rows on Hopper: the launches around the wide kernel, and everything that one stack decides.

    out[t, n] = Σ_k x[t // share, k] * weight[expert[t], n, k]

x `[T / share, K]` in the dtype of the stack's scales, a stack `[E, N, K]` in lane order, expert int `[T]`,
out `[T, N]`. An id of E or more means "no expert": the row is zero.

    count, place    rows of each expert → tiles of one expert each       (`kernels.expert_tiles`)
    gather          x → rows in the tiles' order, as the matrix unit wants them      (`kernels.reorder`)
    wide            a tile of rows times its expert's weights, stored row by row where each belongs;
                    again for small tiles, where large ones would be mostly empty

No launch waits for the device: programs read on it how many tiles there are.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.expert_tiles import CHUNK, LARGEST_READ, PART, count_kernel, most_tiles, place_kernel
from kernels.lane_layout import LaneMatrix
from kernels.launch import Launch, kind_of
from kernels.reorder import gather_kernel
from kernels.wide import wide_kernel
from kernels.wide_tiles import WideTile
from kernels.wide_unpack import BLOCK, block_text, scales_text

GATHER_ROWS = 32  # divides CHUNK


def wide_constants(w: LaneMatrix, tile: WideTile) -> dict[str, object]:
    """The compile-time constants that one stack and one tile decide."""
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


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles of rows of one expert each, all of one size: what one product multiplies.

    `x` in the order of the places, `[K / 64, places, 64]`, of which those of these tiles come first; `row` of
    each of their places, below zero for nobody's; `expert` of each tile, and at the end how many there are.
    """

    x: Tensor
    row: Tensor
    expert: Tensor


class WideExpertsPlan:
    """What one stack `[E, N, K]` and one or two tiles decide of the launches; no memory of its own."""

    def __init__(
        self,
        w: LaneMatrix,
        tile: WideTile,
        multiprocessors: int,
        *,
        small: WideTile | None = None,
        early: bool = True,
    ) -> None:
        """`small` takes an expert's last rows where it has room for them.

        `early`: the launches before the product may start while the one before them still runs.
        """
        self.lanes = w
        self.experts = w.words.shape[0]
        self.scales = w.scales.view(w.dtype)
        self.ids = max(PART, 1 << (self.experts - 1).bit_length())
        self.tile = tile
        self.small_rows = 0 if small is None else small.rows
        self.tiles = (tile,) if small is None else (tile, small)
        self.programs = tuple(each.programs * multiprocessors for each in self.tiles)
        # The product reads at once what the launch before it wrote, so it starts after it.
        self.products = [
            Launch(wide_kernel, wide_constants(w, each), {"num_warps": each.warps, "maxnreg": each.registers})
            for each in self.tiles
        ]
        read = max(1, min(CHUNK, LARGEST_READ // self.ids))
        self.count = self.launch_before(count_kernel, 4, early=early, CHUNK=CHUNK, PART=PART)
        self.place = self.launch_before(
            place_kernel, 8, early=early, ROWS=tile.rows, SMALL=self.small_rows, READ=read
        )
        self.gather = self.launch_before(
            gather_kernel, 4, early=early, ROWS=GATHER_ROWS, STEP=w.step, CHUNK=CHUNK, PAIR=w.pair
        )

    def launch_before(self, kernel: Any, warps: int, *, early: bool, **constants: object) -> Launch:
        """The launch of a kernel that prepares the product."""
        options = {"num_warps": warps} | ({"launch_pdl": True} if early else {})
        return Launch(kernel, {"IDS": self.ids, "WARPS": warps, "PDL": early} | constants, options)

    def multiply(self, x: Tensor, expert: Tensor) -> Tensor:
        """x `[T / share, K]` with contiguous rows, expert int `[T]`, T ≥ 1 → `[T, N]`.

        All on the matrix's device, the current one.
        """
        w = self.lanes
        out = x.new_empty((expert.shape[0], w.n))
        arranged = self.arrange(x, expert.contiguous(), out)
        for tile, most, product, tiles in zip(
            self.tiles, self.programs, self.products, arranged, strict=True
        ):
            m_tiles = tiles.row.shape[0] // tile.rows
            n_blocks = -(-w.n // tile.outputs)
            product(
                (min(most, m_tiles * n_blocks), 1, 1), (),
                tiles.x, w.words, self.scales, out, tiles.row, tiles.expert,
                w.n, arranged[0].x.shape[1], w.tiles, w.steps, m_tiles, n_blocks,
            )  # fmt: skip
        return out

    def arrange(self, x: Tensor, expert: Tensor, out: Tensor) -> list[Tiles]:
        """x in the order of the places, and the tiles of each size.

        Writes zeros to the rows of `out` without an expert.
        """
        w = self.lanes
        rows = expert.shape[0]
        m_tiles = most_tiles(rows, self.experts, self.tile.rows, self.small_rows)
        small_tiles = min(rows, self.experts) if self.small_rows else 0
        places, small_places = m_tiles * self.tile.rows, small_tiles * self.small_rows
        chunks = -(-rows // CHUNK)
        # The last two begin at 16 bytes, as the kernels are compiled for.
        sizes = (places, small_places, -(-(m_tiles + 1) // 4) * 4, small_tiles + 1)
        counted = chunks * self.ids
        memory = torch.empty(2 * counted + 3 * self.ids + sum(sizes), dtype=torch.int32, device=x.device)
        counts, before, start, tables = memory.split([counted, counted, 3 * self.ids, sum(sizes)])
        row, small_row, tile_expert, small_expert = tables.split(sizes)
        ordered = x.new_empty((w.steps * w.step // BLOCK, places + small_places, BLOCK))
        kind = (expert.dtype,)
        self.count(
            (chunks, 1, 1), kind,
            expert, counts, tables, rows, self.experts, places + small_places, sum(sizes),
        )  # fmt: skip
        self.place(
            (1, 1, 1), (),
            counts, before, start, tile_expert, small_expert, chunks, m_tiles, small_tiles, places,
        )  # fmt: skip
        self.gather(
            (-(-rows // GATHER_ROWS), w.steps, 1), kind + kind_of(x),
            x, expert, before, start, ordered, tables, out,
            rows, w.k, w.n, self.experts, rows // x.shape[0], places + small_places, x.stride(0),
        )  # fmt: skip
        of_all = [Tiles(ordered, row, tile_expert)]
        return [*of_all, Tiles(ordered[:, places:], small_row, small_expert)] if self.small_rows else of_all
