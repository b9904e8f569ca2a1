# mypy: allow-untyped-defs, allow-incomplete-defs
# ruff: noqa: PLR0917 — Triton compiles one branch of an `if` and takes many arguments
"""Fused dequantize + matmul over routed rows: each row meets the matrix of its own expert.

    out[t, n] = Σ_k x[t, k] * weight[expert[t], n, k]

x `[T, K]` float16 or bfloat16, a stack `[E, N, K]` of packed matrices, expert int `[T]`, out `[T, N]` in x's
dtype. An id of E or more means "no expert" (the padding of expert parallelism): the row is zero.

The rows are sorted by expert on the device, and each expert's run is cut into tiles of BM rows. The host
knows only an upper bound of the number of tiles, T/BM + min(T, E + 1), and launches so many; a program
without a tile ends at once. So nothing waits for the device:

    expert   2 0 2 2 0 7          order    1 4 │ 0 2 3 │ 5          (stable)
    tiles of BM = 2 rows:         [1 4]  [0 2] [3 -]  [5 -]         a tile never mixes experts
                                   e=0    e=2   e=2    e=7
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.accumulate import accumulate, round_to
from kernels.matmul import units_of
from kernels.packed_matrix import PackedMatrix
from kernels.tiles import Tile, constants_of


@dataclass(frozen=True)
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
    ids, order = torch.sort(expert, stable=True)
    groups = torch.arange(experts + 1, device=expert.device)  # group E gathers every id from E
    start = torch.searchsorted(ids, groups.to(ids.dtype))
    end = torch.cat((start[1:], start.new_full((1,), count)))
    tiles = (end - start + rows - 1) // rows
    last_tile = tiles.cumsum(0)
    number = torch.arange(count // rows + min(count, experts + 1), device=expert.device)
    group = torch.searchsorted(last_tile, number, right=True)
    known = group.clamp(max=experts)
    first_row = start[known] + (number - (last_tile - tiles)[known]) * rows
    last_row = torch.minimum(first_row + rows, end[known])
    return RowTiles(order.int(), group.int(), first_row.int(), last_row.int())


@triton.jit(do_not_specialize=["tiles", "experts"])
def experts_kernel(
    x_ptr,
    codes_ptr,
    scales_ptr,
    out_ptr,
    order_ptr,
    tile_expert_ptr,
    tile_start_ptr,
    tile_end_ptr,
    tiles,
    experts,
    N,
    K,
    row_length,
    stride_x,
    stride_codes_expert,
    stride_codes,
    stride_scales_expert,
    stride_scales,
    stride_group,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    COLUMNS: tl.constexpr,
    EVEN_K: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    tile = tl.program_id(0) % tiles
    n = tl.program_id(0) // tiles * BN + tl.arange(0, BN)
    expert = tl.load(tile_expert_ptr + tile)
    if expert > experts:
        return
    place = tl.load(tile_start_ptr + tile) + tl.arange(0, BM)
    m_ok = place < tl.load(tile_end_ptr + tile)
    m = tl.load(order_ptr + place, mask=m_ok, other=0).to(tl.int64)
    n_ok = n < N
    CODES: tl.constexpr = 32 if BITS == 3 else 16 // BITS
    # Rows without an expert walk no step and so get zeros.
    known = tl.where(expert < experts, expert, 0).to(tl.int64)
    steps = tl.where(expert < experts, tl.cdiv(K, CODES * COLUMNS), 0)
    acc = accumulate(
        x_ptr + m * stride_x, m_ok, codes_ptr + known * stride_codes_expert + n.to(tl.int64) * stride_codes,
        scales_ptr + known * stride_scales_expert + n * stride_scales, n_ok, stride_group,
        K, row_length, 0, steps, BITS, GROUP, BM, BN, COLUMNS, EVEN_K, INTERPRET,
    )  # fmt: skip
    tl.store(
        out_ptr + m[None, :] * N + n[:, None],
        round_to(acc, out_ptr.dtype.element_ty, INTERPRET),
        mask=n_ok[:, None] & m_ok[None, :],
    )


def expert_matmul(x: Tensor, w: PackedMatrix, expert: Tensor, tile: Tile) -> Tensor:
    """x `[T, K]` with contiguous rows, `w` a stack, `expert` int `[T]` → `[T, N]`, on a GPU; T ≥ 1."""
    rows, k = x.shape
    experts = w.codes.shape[0]
    table = tile_rows(expert, experts, tile.rows)
    tiles = table.expert.shape[0]
    units = units_of(w.codes, w.bits)
    out = torch.empty((rows, w.n), dtype=x.dtype, device=x.device)
    experts_kernel[(triton.cdiv(w.n, tile.outputs) * tiles,)](
        x, units, w.scales, out, table.order, table.expert, table.start, table.end, tiles, experts, w.n, k,
        units.shape[-1], x.stride(0), units.stride(0), units.stride(1), w.scales.stride(0),
        w.scales.stride(1), w.scales.stride(2), **constants_of(w.bits, w.group_size, k, tile),
        INTERPRET=triton.knobs.runtime.interpret, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return out


def expert_matmul_reference(x: Tensor, w: PackedMatrix, expert: Tensor) -> Tensor:
    """The same in plain PyTorch and float64, row by row `[T, N]`."""
    out = torch.zeros((x.shape[0], w.n), dtype=torch.float64, device=x.device)
    for row, number in enumerate(expert.tolist()):
        if number < w.codes.shape[0]:
            out[row] = w.expert(number).dequantize(torch.float64) @ x[row].double()
    return out
