# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917 — a device function takes many arguments
"""What a program of decode attention will read first, asked into L2 while the kernel before it still runs.

That needs the length of the sequence, which may not be written yet: with another one the program asks for the
wrong rows of the same cache, and for nothing else. Nothing that is asked for is looked at here.
"""

import triton
import triton.language as tl

from kernels.attention_merge import part_of


@triton.constexpr_function
def ahead_text(size):
    """PTX that asks for `size` bytes at an address into L2, where a flag is not 0."""
    ask = f"@p cp.async.bulk.prefetch.L2.global [$1], {size};"
    return "{ .reg .pred p; setp.ne.b32 p, $2, 0; " + ask + " mov.b32 $0, 0; }"


@triton.jit
def ask_ahead(pointer, asked, COLUMNS: tl.constexpr):
    """16 rows of COLUMNS numbers from each `pointer` on into L2."""
    text: tl.constexpr = ahead_text(2 * COLUMNS * pointer.dtype.element_ty.primitive_bitwidth)
    tl.inline_asm_elementwise(
        text, "=r,l,r", args=[pointer, asked.to(tl.int32)], dtype=tl.int32, is_pure=False, pack=1
    )


@triton.jit
def ask_part_ahead(
    keys_ptr, values_ptr, length_ptr, window, C, part, parts, SPAN: tl.constexpr, BLOCK: tl.constexpr,
    AHEAD: tl.constexpr, D: tl.constexpr, DV: tl.constexpr,
):  # fmt: skip
    """The first AHEAD positions of a part, by a length that may be another step's."""
    # Past L1, which would keep what is not written yet.
    hint = tl.load(length_ptr, cache_modifier=".cg").to(tl.int32)
    hint = tl.minimum(tl.maximum(hint, 0), 1073741824)  # 2^30: no sum of it with a part overflows
    _, _, first, last = part_of(hint, window, C, part, parts, SPAN, BLOCK)
    # A thread of 16 asks, for 16 rows. None of them is outside this head's run, wherever the ring ends.
    i = tl.arange(0, AHEAD)
    asked = (first + i < last) & (i % 16 == 0) & (C >= 16)
    slot = tl.maximum(tl.minimum((first + i) % C, C - 16), 0)
    ask_ahead(keys_ptr + slot * D, asked, D)
    if DV:
        ask_ahead(values_ptr + slot * DV, asked, DV)
