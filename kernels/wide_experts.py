"""Many routed rows on Hopper: the wide kernel over tiles of one expert each, and its launches.

    out[t, n] = Σ_k x[t // share, k] * weight[expert[t], n, k]

x `[T / share, K]` in the dtype of the stack's scales, a stack `[E, N, K]` in lane order, expert int `[T]`,
out `[T, N]`. An id of E or more means "no expert": the row is zero.

    count, place    rows of each expert → tiles of one expert each       (`kernels.expert_tiles`)
    gather          x → rows in the tiles' order, as the matrix unit wants them      (`kernels.reorder`)
    wide            a tile of rows times its expert's weights, stored row by row where each belongs

Four launches, none waits for the device: programs read on it how many tiles there are.
"""

from typing import Any

import torch
from torch import Tensor

from kernels.expert_tiles import CHUNK, LARGEST_READ, PART, count_kernel, most_tiles, place_kernel
from kernels.lane_layout import LaneMatrix
from kernels.launch import Launch, kind_of
from kernels.reorder import gather_kernel
from kernels.wide import wide_kernel
from kernels.wide_plan import BLOCK, wide_constants
from kernels.wide_tiles import WideTile

GATHER_ROWS = 32  # divides CHUNK


class WideExpertsPlan:
    """What one stack `[E, N, K]` and one tile decide of the launches; no memory of its own."""

    def __init__(self, w: LaneMatrix, tile: WideTile, multiprocessors: int, *, early: bool = True) -> None:
        """`early`: the launches before the product may start while the one before them still runs."""
        self.lanes = w
        self.tile = tile
        self.experts = w.words.shape[0]
        self.programs = tile.programs * multiprocessors
        self.n_blocks = -(-w.n // tile.outputs)
        self.scales = w.scales.view(w.dtype)
        self.ids = max(PART, 1 << (self.experts - 1).bit_length())
        # The product reads at once what the launch before it wrote, so it starts after it.
        constants = wide_constants(w, tile) | {"HAS_BIAS": False, "DEPENDENT": False, "ROUTED": True}
        self.product = Launch(wide_kernel, constants, {"num_warps": tile.warps, "maxnreg": tile.registers})
        read = max(1, min(CHUNK, LARGEST_READ // self.ids))
        self.count = self.launch_before(count_kernel, 4, early=early, CHUNK=CHUNK, PART=PART)
        self.place = self.launch_before(place_kernel, 8, early=early, ROWS=tile.rows, READ=read)
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
        ordered, row, tile_expert = self.arrange(x, expert.contiguous(), out)
        m_tiles = tile_expert.shape[0] - 1
        programs = min(self.programs, m_tiles * self.n_blocks)
        self.product(
            (programs, 1, 1), (),
            ordered, w.words, self.scales, None, out, None, None, row, tile_expert,
            out.shape[0], w.n, row.shape[0], w.tiles, w.steps, m_tiles, self.n_blocks, 1, w.steps,
        )  # fmt: skip
        return out

    def arrange(self, x: Tensor, expert: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(x in the order of the places `[K/64, places, 64]`, their rows, the tiles' experts and number).

        Writes zeros to the rows of `out` without an expert.
        """
        w = self.lanes
        rows = expert.shape[0]
        m_tiles = most_tiles(rows, self.experts, self.tile.rows)
        places = m_tiles * self.tile.rows
        chunks = -(-rows // CHUNK)
        room = places + m_tiles + 1
        memory = torch.empty(2 * chunks * self.ids + room, dtype=torch.int32, device=x.device)
        counts, first, tables = memory.split([chunks * self.ids, chunks * self.ids, room])
        row, tile_expert = tables.split([places, m_tiles + 1])
        ordered = x.new_empty((w.steps * w.step // BLOCK, places, BLOCK))
        kind = (expert.dtype,)
        self.count((chunks, 1, 1), kind, expert, counts, tables, rows, self.experts, places, room)
        self.place((1, 1, 1), (), counts, first, tile_expert, chunks, m_tiles)
        self.gather(
            (-(-rows // GATHER_ROWS), w.steps, 1), kind + kind_of(x),
            x, expert, first, ordered, row, out,
            rows, w.k, w.n, self.experts, rows // x.shape[0], places, x.stride(0),
        )  # fmt: skip
        return ordered, row, tile_expert
