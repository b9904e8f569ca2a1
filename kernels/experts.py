# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0912, PLR0915, PLR0917, RET505, RUF005 — Triton compiles one branch of an `if` and takes many
# arguments
"""Fused dequantize + matmul over routed rows: each row meets the matrix of its own expert.

    out[t, n] = Σ_k x[t // share, k] * weight[expert[t], n, k]
    or, with an activation, act(first half of n) * (second half of n)

x `[T / share, K]` float16 or bfloat16, a stack `[E, N, K]` in lane order, expert int `[T]`, out `[T, N]`
(`[T, N / 2]` with an activation) in x's dtype. An id of E or more means "no expert" (the padding of expert
parallelism): the row is zero. A program multiplies one block of an expert's weights with up to
ROWS = 8 N_TILES of its rows, as `kernels.decode` does.
Nothing waits for the device, and only experts that have rows are read.

Few rows (decode): a program for each row and block. It compares its expert's id with all ids. Rows of one
expert have ranks; the program of every ROWS-th rank takes ROWS rows, the others end at once:

    expert   2 0 2 2 0 7      ranks  0 0 1 2 1 0      ROWS 2:  programs of rows 0, 1, 3 and 5 work, with
                                                               [0 2]  [1 4]  [3]  [5]

Many rows (prefill): a small kernel sorts the rows by expert and cuts each expert's run into tiles of ROWS
rows. The host knows only an upper bound of the number of tiles, T/ROWS + E + 1, and launches so many; a
program without a tile ends at once:

    order    1 4 │ 0 2 3 │ 5  (stable)      tiles of 2 rows:  [1 4]  [0 2]  [3 -]  [5 -]
"""

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.decode import launch_options, uses_dependent_launch, walk_constants, whole_loads
from kernels.ends import activate, sum_warps
from kernels.epilogue import ACTIVATIONS, Activation
from kernels.fragments import evict_first, launch_next, round_to, wait_for_previous, zero_sums
from kernels.lane_layout import LaneMatrix
from kernels.launch import Launch
from kernels.packed_matrix import PackedMatrix
from kernels.tiles import LARGEST_UNSORTED, Gpu, Tile, choose_expert_tile, row_bucket
from kernels.walk import accumulate_step, load_block, tile_pointers

SORT_BLOCK = 32
SORT_CHUNK = 128


@triton.jit
def find_rows(rank, first, equal, position, order_ptr, SORTED: tl.constexpr):
    """The rows of x with these ranks [R] after `first`; without SORTED by comparison with all [T]."""
    if SORTED:
        return tl.load(order_ptr + first + rank)
    else:
        here = equal[None, :] & (position[None, :] == (first + rank)[:, None])
        row = tl.arange(0, equal.shape[0])
        return tl.sum(tl.where(here, row[None, :], 0), 1)


@triton.jit
def store_routed(
    value, out_ptr, tile, first_rank, N, first, count, equal, position, order_ptr, SORTED: tl.constexpr,
    INTERPRET: tl.constexpr,
):  # fmt: skip
    """Write `value` [64] as `sum_warps` gives it, of every other rank from `first_rank` on, N columns."""
    rank = first_rank + 2 * tl.arange(0, 4)
    of_rank = find_rows(tl.minimum(rank, count - 1), first, equal, position, order_ptr, SORTED).to(tl.int64)
    n = tile * 16 + tl.arange(0, 16)
    place = tl.reshape(of_rank[:, None] * N + n[None, :], (64,))
    inside = tl.reshape((rank < count)[:, None] & (n < N)[None, :], (64,))
    tl.store(out_ptr + place, round_to(value, out_ptr.dtype.element_ty, INTERPRET), mask=inside)


@triton.jit(
    do_not_specialize=["T", "groups", "experts", "share", "stride_x", "N", "K", "steps", "tiles"],
    do_not_specialize_on_alignment=[
        "x_ptr", "words_ptr", "scales_ptr", "out_ptr", "expert_ptr", "order_ptr", "start_ptr", "end_ptr",
    ],
)  # fmt: skip
def experts_kernel(
    x_ptr,
    words_ptr,
    scales_ptr,
    out_ptr,
    expert_ptr,  # of each row, or with SORTED of each tile of rows
    order_ptr,
    start_ptr,
    end_ptr,
    T,
    groups,  # rows, or with SORTED tiles of rows
    experts,
    share,  # rows of the result that a row of x makes
    stride_x,
    N,
    K,
    steps,
    tiles,
    BITS: tl.constexpr,
    GROUPS: tl.constexpr,
    PAIR: tl.constexpr,
    scale_dtype: tl.constexpr,
    ROW_TILES: tl.constexpr,
    N_TILES: tl.constexpr,
    WARPS: tl.constexpr,
    DEPTH: tl.constexpr,
    EVEN: tl.constexpr,
    EVEN_K: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SORTED: tl.constexpr,
    MOST_IDS: tl.constexpr,  # power of two, at least T; without SORTED
    PDL: tl.constexpr,
    CACHE_HINT: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    STEP: tl.constexpr = 128 if BITS == 8 else 256
    ROWS: tl.constexpr = 8 * N_TILES
    PAIRED: tl.constexpr = ACTIVATION != ""
    dtype: tl.constexpr = x_ptr.dtype.element_ty
    group = tl.program_id(0) % groups
    block = tl.program_id(0) // groups
    thread = tl.arange(0, 32 * WARPS)
    lane = thread % 32
    warp = thread // 32
    launch_next(lane, PDL)
    equal = thread == 0
    position = thread
    if SORTED:
        expert = tl.load(expert_ptr + group)
        if expert > experts:
            return
        first = tl.load(start_ptr + group)
        count = tl.load(end_ptr + group) - first
    else:
        row = tl.arange(0, MOST_IDS)
        ids = tl.load(expert_ptr + (row + wait_for_previous(row, PDL)), mask=row < T, other=-1).to(tl.int32)
        expert = tl.sum(tl.where(row == group, ids, 0), 0)
        equal = ids == expert
        first = tl.sum((equal & (row < group)).to(tl.int32), 0)
        if first % ROWS != 0:
            return
        count = tl.minimum(tl.sum(equal.to(tl.int32), 0) - first, ROWS)
        position = tl.cumsum(equal.to(tl.int32), 0) - 1
    # Rows without an expert walk no step and so get zeros.
    known = tl.where(expert < experts, expert, 0).to(tl.int64) * tiles
    count_of_parts = tl.where(expert < experts, tl.cdiv(steps, WARPS), 0)
    policy = evict_first(lane, CACHE_HINT)
    scales_of_expert = scales_ptr + known * ((steps * GROUPS if GROUPS > 0 else 1) * 8)
    words_of_step: tl.constexpr = 384 if BITS == 3 else 512
    pointers = tile_pointers(words_ptr + known * steps * words_of_step, scales_of_expert, lane, BITS, GROUPS)
    # Gate rows are the first half of the tiles, up rows the second.
    tile_step = tiles // 2 if PAIRED else 1
    queue = ()
    for depth in tl.static_range(DEPTH):
        queue = queue + (
            load_block(
                pointers, policy, block, depth, warp, steps, tiles, tile_step, ROW_TILES, WARPS, PAIRED, BITS,
                GROUPS, EVEN, CACHE_HINT, INTERPRET,
            ),
        )  # fmt: skip
    x_words = x_ptr.to(tl.pointer_type(tl.int32), bitcast=True)
    x_rows = ()
    for nt in tl.static_range(N_TILES):
        rank = tl.minimum(8 * nt + tl.arange(0, 8), count - 1)
        of_rank = find_rows(rank, first, equal, position, order_ptr, SORTED)
        spread = tl.broadcast_to(of_rank[None, :, None], (WARPS, 8, 4))
        of_lane = tl.reshape(spread, (32 * WARPS,)).to(tl.int64)
        x_rows = x_rows + (x_words + of_lane // share * (stride_x // 2),)
    in_step = lane % 4 * (2 * PAIR)
    total = zero_sums(ROW_TILES * N_TILES, WARPS)
    for part in range(count_of_parts):
        ahead = load_block(
            pointers, policy, block, part + DEPTH, warp, steps, tiles, tile_step, ROW_TILES, WARPS, PAIRED,
            BITS, GROUPS, EVEN, CACHE_HINT, INTERPRET,
        )  # fmt: skip
        step = part * WARPS + warp
        valid = (step < steps).to(tl.float32)
        if not EVEN:
            step = tl.minimum(step, steps - 1)
        total = accumulate_step(
            queue[0], x_rows, x_words, (), step * (STEP // 2) + in_step, K // 2 - 2 * PAIR, valid, total,
            dtype, scale_dtype, BITS, GROUPS, PAIR, WARPS, EVEN, EVEN_K, False, False,
            INTERPRET,
        )  # fmt: skip
        queue = queue[1:] + (ahead,)
    if PAIRED:
        for nt in tl.static_range(N_TILES):
            gate = sum_warps(total[nt], scales_of_expert, block, tiles, scale_dtype, GROUPS, WARPS)
            up = sum_warps(
                total[N_TILES + nt], scales_of_expert, block + tile_step, tiles, scale_dtype, GROUPS, WARPS
            )
            for e in tl.static_range(2):
                store_routed(
                    activate(gate[e], ACTIVATION) * up[e], out_ptr, block, 8 * nt + e, N // 2, first, count,
                    equal, position, order_ptr, SORTED, INTERPRET,
                )  # fmt: skip
    else:
        for nt in tl.static_range(N_TILES):
            for r in tl.static_range(ROW_TILES):
                tile = block * ROW_TILES + r
                values = sum_warps(
                    total[r * N_TILES + nt], scales_of_expert, tile, tiles, scale_dtype, GROUPS, WARPS
                )
                for e in tl.static_range(2):
                    store_routed(
                        values[e], out_ptr, tile, 8 * nt + e, N, first, count, equal, position, order_ptr,
                        SORTED, INTERPRET,
                    )  # fmt: skip


@triton.jit(
    do_not_specialize=["T", "experts"],
    do_not_specialize_on_alignment=["expert_ptr", "order_ptr", "tile_ptr", "start_ptr", "end_ptr"],
)
def sort_kernel(
    expert_ptr, order_ptr, tile_ptr, start_ptr, end_ptr, T, experts,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Sorts T rows by expert and cuts each expert's run into tiles of ROWS.

    A row's place is the number of rows of smaller ids, plus the equal ones before it: each program counts
    them for BLOCK rows. The row at the start of a tile describes the tile, in slot place // ROWS + expert,
    which grows from tile to tile.
    """
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mine = tl.minimum(tl.load(expert_ptr + row, mask=row < T, other=0).to(tl.int32), experts)
    smaller = tl.zeros((BLOCK,), tl.int32)
    equal = tl.zeros((BLOCK,), tl.int32)
    earlier = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, T, CHUNK):
        other = first + tl.arange(0, CHUNK)
        ids = tl.minimum(tl.load(expert_ptr + other, mask=other < T, other=0).to(tl.int32), experts)
        ids = tl.where(other < T, ids, experts + 1)[None, :]
        same = ids == mine[:, None]
        smaller += tl.sum((ids < mine[:, None]).to(tl.int32), 1)
        equal += tl.sum(same.to(tl.int32), 1)
        earlier += tl.sum((same & (other[None, :] < row[:, None])).to(tl.int32), 1)
    place = smaller + earlier
    tl.store(order_ptr + place, row, mask=row < T)
    slot = place // ROWS + mine
    begins = (row < T) & (earlier % ROWS == 0)
    tl.store(tile_ptr + slot, mine, mask=begins)
    tl.store(start_ptr + slot, place, mask=begins)
    tl.store(end_ptr + slot, place + tl.minimum(equal - earlier, ROWS), mask=begins)


@dataclass(frozen=True, eq=False)
class RowTiles:
    """Rows sorted by expert and cut into tiles; all int32 on the device of the rows.

    `order` [T]: row numbers, sorted by expert. For tile i of at most `expert.shape[0]`: `expert[i]` (E: no
    expert, E + 1: no tile) and its rows `order[start[i]:end[i]]`.
    """

    order: Tensor
    expert: Tensor
    start: Tensor
    end: Tensor


def tile_rows(expert: Tensor, experts: int, rows: int) -> RowTiles:
    """Sort `expert` [T] and cut it into tiles of `rows`, without a host synchronisation."""
    count = expert.shape[0]
    slots = (count - 1) // rows + experts + 1
    order, start, end = (expert.new_empty(size, dtype=torch.int32) for size in (count, slots, slots))
    tiles = expert.new_full((slots,), experts + 1, dtype=torch.int32)
    sort_kernel[(triton.cdiv(count, SORT_BLOCK),)](
        expert, order, tiles, start, end, count, experts, ROWS=rows, BLOCK=SORT_BLOCK, CHUNK=SORT_CHUNK
    )
    return RowTiles(order, tiles, start, end)


class ExpertsPlan:
    """What one stack `[E, N, K]` and one bucket of rows decide of a launch; no memory of its own."""

    def __init__(
        self, w: LaneMatrix, rows: int, gpu: Gpu, *, tile: Tile | None = None, sort: bool | None = None,
        activation: Activation | None = None,
    ) -> None:  # fmt: skip
        """The choices that `tile` and `sort` leave open follow from the sizes.

        An `activation` needs halves of whole row tiles, and takes a tile of each in a block.
        """
        self.w = w
        self.experts = w.words.shape[0]
        self.sorted = rows > LARGEST_UNSORTED if sort is None else sort
        rows_per_expert = rows / self.experts
        self.tile = tile or choose_expert_tile(w.bits, w.group_size, rows_per_expert, w.n, w.k, gpu=gpu)
        if activation is not None:
            self.tile = replace(self.tile, row_tiles=2)
        self.blocks = -(-w.tiles // self.tile.row_tiles)
        self.outputs = w.n if activation is None else w.n // 2
        pdl = uses_dependent_launch(gpu) and not self.sorted
        most_ids = 0 if self.sorted else row_bucket(rows)
        constants = walk_constants(w, self.tile) | {
            "SORTED": self.sorted, "MOST_IDS": most_ids, "PDL": pdl, "ACTIVATION": activation or "",
        }  # fmt: skip
        self.launch = Launch(experts_kernel, constants, launch_options(self.tile, pdl, self.tile.programs))

    def multiply(self, x: Tensor, expert: Tensor) -> Tensor:
        """x `[T / share, K]` with contiguous rows, expert int `[T]` → `[T, N]`, or `[T, N / 2]`.

        T is at most the bucket's.
        """
        w = self.w
        rows = expert.shape[0]
        out = x.new_empty((rows, self.outputs))
        x = whole_loads(x)
        if self.sorted:
            table = tile_rows(expert.contiguous(), self.experts, 8 * self.tile.n_tiles)
            groups = table.expert.shape[0]
            routing = (table.expert, table.order, table.start, table.end)
        else:
            groups = rows
            routing = (expert.contiguous(), None, None, None)
        self.launch(
            (groups * self.blocks, 1, 1), (x.dtype, expert.dtype),
            x, w.words, w.scales, out, *routing, rows, groups, self.experts,
            rows // x.shape[0], x.stride(0), w.n, x.shape[1],
            w.steps, w.tiles,
        )  # fmt: skip
        return out


def expert_matmul_reference(
    x: Tensor, w: PackedMatrix, expert: Tensor, activation: Activation | None = None
) -> Tensor:
    """The same in plain PyTorch and float64, row by row `[T, N]` or `[T, N / 2]`."""
    share = len(expert) // len(x)
    out = torch.zeros((len(expert), w.n), dtype=torch.float64, device=x.device)
    for row, number in enumerate(expert.tolist()):
        if number < w.codes.shape[0]:
            out[row] = w.expert(number).dequantize(torch.float64) @ x[row // share].double()
    if activation is None:
        return out
    gate, up = out.chunk(2, -1)
    return ACTIVATIONS[activation](gate) * up
