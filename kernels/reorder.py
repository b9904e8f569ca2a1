# mypy: allow-untyped-defs, allow-incomplete-defs
# ruff: noqa: PLR0917 — Triton takes many arguments
"""Activations in the order in which the wide kernel's fragments meet them.

A lane of the decode kernel reads its activations of 32 columns as 8 neighbours, and lane order is made for
that; the matrix unit of a warpgroup wants pairs that stand 8 columns apart. So x is written once more:

    column of x       (q, t, b, h, e)        q: 32 columns, t: lane, b: fragment of the pair, h: half, e: pair
    column after      (q, b, h, t, e)
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["M"])
def reorder_kernel(
    x_ptr, out_ptr, M, K, x_rows, stride_x,
    ROWS: tl.constexpr, PAIR: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
    """out[k // 64, m, place] = x[m, k]: within a block of 64 columns in the order of the fragments' columns.

    In lane order column (q, t, b, h, e) of x is column (h, t, e) of fragment PAIR q + b. Zero beyond M and K.
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
    parts = tl.reshape(x, (ROWS, 4 // PAIR, 4, PAIR, 2, 2))
    x = tl.reshape(tl.permute(parts, (0, 1, 3, 4, 2, 5)), (ROWS, 64))
    start = (tl.program_id(0).to(tl.int64) * x_rows + m) * 64
    tl.store(out_ptr + start[:, None] + place[None, :], x)
