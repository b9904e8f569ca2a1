# mypy: allow-untyped-defs, allow-incomplete-defs
# ruff: noqa: PLR0917 — Triton takes many arguments
"""Activations in the order in which the fragments of a warpgroup's matrix unit meet them.

A lane of the decode kernel reads its activations of 32 columns as 8 neighbours, and lane order is made for
that; the matrix unit of a warpgroup wants pairs that stand 8 columns apart. So x is written once more:

    column of x       (q, t, b, h, e)        q: 32 columns, t: lane, b: fragment of the pair, h: half, e: pair
    column after      (q, b, h, t, e)

Routed rows are gathered on the way: each goes to the place that `kernels.expert_tiles` made for it.
"""

import triton
import triton.language as tl

from kernels.fragments import after_previous


@triton.jit
def in_fragment_order(x, ROWS: tl.constexpr, PAIR: tl.constexpr):
    """[ROWS, 64]: in lane order column (q, t, b, h, e) of x is column (h, t, e) of fragment PAIR q + b."""
    parts = tl.reshape(x, (ROWS, 4 // PAIR, 4, PAIR, 2, 2))
    return tl.reshape(tl.permute(parts, (0, 1, 3, 4, 2, 5)), (ROWS, 64))


@triton.jit(do_not_specialize=["M"])
def reorder_kernel(
    x_ptr, out_ptr, M, K, x_rows, stride_x,
    ROWS: tl.constexpr, PAIR: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
    """out[k // 64, m, place] = x[m, k]: within a block of 64 columns in the order of the fragments' columns.

    Zero beyond M and K.
    """
    m = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    place = tl.arange(0, 64)
    k = tl.program_id(0) * 64 + place
    if DEPENDENT:
        m += tl.inline_asm_elementwise(
            "griddepcontrol.launch_dependents; griddepcontrol.wait; mov.b32 $0, 0;",
            "=r,r", [m], tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
    inside = (m < M)[:, None] & (k < K)[None, :]
    x = tl.load(x_ptr + m.to(tl.int64)[:, None] * stride_x + k[None, :], mask=inside, other=0.0)
    x = in_fragment_order(x, ROWS, PAIR)
    start = (tl.program_id(0).to(tl.int64) * x_rows + m) * 64
    tl.store(out_ptr + start[:, None] + place[None, :], x)


@triton.jit(do_not_specialize=["T", "experts", "share"], do_not_specialize_on_alignment=["expert_ptr"])
def gather_kernel(
    x_ptr,  # [T / share, K]
    expert_ptr,  # [T]
    before_ptr,  # int32 [chunks, IDS]: an expert's rows in the chunks before
    start_ptr,  # int32 [3, IDS]: where an expert's rows begin, see `place_kernel`
    ordered_ptr,  # [K / 64, x_rows, 64]
    row_ptr,  # int32 [x_rows]
    out_ptr,  # [T, N]
    T, K, N, experts, share, x_rows, stride_x,
    ROWS: tl.constexpr, STEP: tl.constexpr, CHUNK: tl.constexpr, IDS: tl.constexpr, PAIR: tl.constexpr,
    WARPS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """ordered[k // 64, p, place] = x[t // share, k] for the p-th place, which is row t's; row[p] = t.

    A row is the rank-th of its expert, which makes its place (`kernels.expert_tiles`). Places that are
    nobody's stay as they are: no row of the result is made of them. A row without an expert gets zeros in
    `out`.
    """
    first_row = tl.program_id(0) * ROWS
    within = tl.arange(0, ROWS) + after_previous(WARPS, PDL)
    row = first_row + within
    mine = tl.load(expert_ptr + row, mask=row < T, other=-1).to(tl.int32)
    known = (row < T) & (mine < experts)
    chunk = first_row // CHUNK
    rank = tl.load(before_ptr + chunk * IDS + mine, mask=known, other=0)
    for start in range(chunk * CHUNK, first_row + ROWS, ROWS):
        other = start + within
        ids = tl.load(expert_ptr + other, mask=other < T, other=-1).to(tl.int32)
        earlier = (ids[None, :] == mine[:, None]) & (other[None, :] < row[:, None])
        rank += tl.sum(earlier.to(tl.int32), 1)
    here = rank < tl.load(start_ptr + IDS + mine, mask=known, other=0)
    start = tl.load(start_ptr + tl.where(here, 0, 2 * IDS) + mine, mask=known, other=0)
    place = start + rank
    if tl.program_id(1) == 0:
        tl.store(row_ptr + place, row, mask=known)
    column = tl.arange(0, 64)
    for j in tl.static_range(STEP // 64):
        block = tl.program_id(1) * (STEP // 64) + j
        k = block * 64 + column
        inside = known[:, None] & (k < K)[None, :]
        from_row = (row // share).to(tl.int64)[:, None] * stride_x
        x = tl.load(x_ptr + from_row + k[None, :], mask=inside, other=0.0)
        to_place = (block.to(tl.int64) * x_rows + place) * 64
        x = in_fragment_order(x, ROWS, PAIR)
        tl.store(ordered_ptr + to_place[:, None] + column[None, :], x, mask=known[:, None])
    lost = (row < T) & (mine >= experts)
    if tl.max(lost.to(tl.int32), 0) > 0:
        zero = tl.zeros((ROWS, 64), out_ptr.dtype.element_ty)
        for n in range(tl.program_id(1) * 64, N, tl.num_programs(1) * 64):
            inside = lost[:, None] & (n + column < N)[None, :]
            tl.store(out_ptr + row.to(tl.int64)[:, None] * N + (n + column)[None, :], zero, mask=inside)
