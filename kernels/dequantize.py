# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment, var-annotated"
# ruff: noqa: PLR0917, RET505, RUF005 — Triton compiles one branch of an `if` and takes many arguments
"""Lane order → 16-bit rows, for long prompts: unpack a slice, then let the vendor's matmul run.

    out[i, k] = round(code[first + i, k] * scale[first + i, k // group])          [rows, K]

A warp takes one step of one tile (`kernels.lane_layout`). Of rows g and 8 + g its lane 4 g + t holds runs of
8 neighbours along k (4 with PAIR = 1), and writes each with one store; the 4 lanes of a row write 64 bytes
side by side:

    row g     │ t=0: k 0 … 7 │ t=1: 8 … 15 │ t=2: 16 … 23 │ t=3: 24 … 31 │ t=0: 32 … 39 │ …
               planes 0 and 1 of slots 0 (h = 0) and 1 (h = 1)             planes 2 and 3

A code has 8 bits at most, so its product with a 16-bit scale is exact in float32; the 16-bit multiplication
of the GPU rounds that product once, which is what is asked for.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.fragments import evict_first, halves_of, round_to
from kernels.lane_layout import TILE_ROWS, LaneMatrix, from_lanes
from kernels.launch import Launch
from kernels.unpack import pair_of
from kernels.walk import load_tile, tile_pointers, unpack_slots

WARPS = 4
TRITON_DTYPES = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@triton.jit
def double(scales, R8: tl.constexpr):
    """The lower (R8 = 0) or upper (R8 = 1) 16 bits, in both halves."""
    if R8 == 0:
        return (scales << 16) | (scales & 0xFFFF)
    else:
        return (scales & -65536) | ((scales >> 16) & 0xFFFF)


@triton.jit
def scale_pair(codes, scales, dtype: tl.constexpr, scale_dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """Two codes in a register times two scales in another: two products, each rounded once to `dtype`."""
    if INTERPRET:
        low, high = halves_of(codes, dtype)
        low_scale, high_scale = halves_of(scales, scale_dtype)
        low = round_to(low * low_scale, dtype, True).to(tl.float32)
        return pair_of(low, round_to(high * high_scale, dtype, True).to(tl.float32), dtype)
    elif dtype == scale_dtype and dtype == tl.float16:
        return tl.inline_asm_elementwise(
            "mul.rn.f16x2 $0, $1, $2;", "=r,r,r", [codes, scales], dtype=tl.int32, is_pure=True, pack=1
        )
    elif dtype == scale_dtype:  # sm_80 only has fma; adding -0 changes no product
        return tl.inline_asm_elementwise(
            "{ .reg .b32 z; mov.b32 z, 0x80008000; fma.rn.bf16x2 $0, $1, $2, z; }",
            "=r,r,r",
            [codes, scales],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
    else:
        low, high = halves_of(codes, dtype)
        low_scale, high_scale = halves_of(scales, scale_dtype)
        text: tl.constexpr = (
            "cvt.rn.f16x2.f32 $0, $2, $1;" if dtype == tl.float16 else "cvt.rn.bf16x2.f32 $0, $2, $1;"
        )
        return tl.inline_asm_elementwise(
            text, "=r,f,f", [low * low_scale, high * high_scale], dtype=tl.int32, is_pure=True, pack=1
        )


@triton.jit
def store_run(
    out_ptr, row, run, runs, inside, words, K, PAIR: tl.constexpr, EVEN: tl.constexpr, WARPS: tl.constexpr
):
    """2 PAIR registers of one row to run `run` of that row, which has `runs` of them."""
    if PAIR == 2:
        pairs = tl.join(tl.join(words[0], words[2]), tl.join(words[1], words[3]))
    else:
        pairs = tl.join(words[0], words[1])
    pairs = tl.reshape(pairs, (32 * WARPS, 2 * PAIR))
    if EVEN:
        at = (row.to(tl.int64) * runs + run) * (2 * PAIR)
        place = at[:, None] + tl.arange(0, 2 * PAIR)[None, :]
        tl.store(out_ptr + place, pairs, mask=inside[:, None])
    else:
        halves = tl.join(pairs.to(tl.int16), (pairs >> 16).to(tl.int16))
        halves = tl.reshape(halves, (32 * WARPS, 4 * PAIR))
        k = run[:, None] * (4 * PAIR) + tl.arange(0, 4 * PAIR)[None, :]
        place = row.to(tl.int64)[:, None] * K + k
        tl.store(out_ptr + place, halves, mask=inside[:, None] & (k < K))


@triton.jit(do_not_specialize=["first_tile", "rows"])
def dequantize_kernel(
    words_ptr,
    scales_ptr,
    out_ptr,  # int32 with EVEN, else int16: 16-bit numbers [rows, K]
    first_tile,
    rows,
    K,
    steps,
    runs,  # runs in a row, with EVEN
    dtype: tl.constexpr,
    scale_dtype: tl.constexpr,
    BITS: tl.constexpr,
    GROUPS: tl.constexpr,  # scales of a step, 0 for channel
    PAIR: tl.constexpr,
    EVEN: tl.constexpr,  # K is a multiple of 8, and out starts at 16 bytes
    WARPS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    PLANES: tl.constexpr = 8 if BITS == 8 else 16
    CODES: tl.constexpr = 5 if BITS == 3 else 16 // BITS
    RUNS: tl.constexpr = 4 * PLANES // PAIR  # of a row in a step
    thread = tl.arange(0, 32 * WARPS)
    lane = thread % 32
    pointers = tile_pointers(words_ptr, scales_ptr, lane, BITS, GROUPS)
    policy = evict_first(lane, False)
    units = tl.cdiv(rows, 16) * steps
    unit = tl.program_id(0) * WARPS + thread // 32
    tile = unit // steps
    step = unit - tile * steps
    place = (first_tile + tile).to(tl.int64) * steps + step
    exists = unit < units
    slots, scales = load_tile(
        pointers, place, exists.to(tl.int32), policy, BITS, GROUPS, True, False, INTERPRET
    )
    if GROUPS == 0:
        channel = scales_ptr + (first_tile + tile).to(tl.int64) * 8 + lane // 4
        scales = (tl.load(channel, mask=exists, other=0),)
    SPAN: tl.constexpr = PLANES // GROUPS if GROUPS > 0 else PLANES  # planes that share a scale
    codes = ()
    for q in tl.static_range(PLANES // PAIR):
        for b in tl.static_range(PAIR):
            if (PAIR * q + b) % CODES == 0:
                codes = codes + (unpack_slots(slots, (PAIR * q + b) // CODES, dtype, BITS, INTERPRET),)
        for r8 in tl.static_range(2):
            factor = double(scales[PAIR * q // SPAN], r8)
            words = ()
            for b in tl.static_range(PAIR):
                of_word = codes[(PAIR * q + b) // CODES]
                for h in tl.static_range(2):
                    pair = of_word[2 * r8 + h][(PAIR * q + b) % CODES]
                    words = words + (scale_pair(pair, factor, dtype, scale_dtype, INTERPRET),)
            row = tile * 16 + 8 * r8 + lane // 4
            run = step * RUNS + 4 * q + lane % 4
            inside = exists & (row < rows) & (run * (4 * PAIR) < K)
            store_run(out_ptr, row, run, runs, inside, words, K, PAIR, EVEN, WARPS)


class Dequantize:
    """Unpacks rows of one matrix, or of one expert of a stack, again and again.

    `dtype` is that of the rows.
    """

    def __init__(self, lanes: LaneMatrix, dtype: torch.dtype) -> None:
        self.lanes = lanes
        self.dtype = dtype
        constants = {
            "dtype": TRITON_DTYPES[dtype],
            "scale_dtype": TRITON_DTYPES[lanes.dtype],
            "BITS": lanes.bits,
            "GROUPS": 0 if lanes.group_size is None else lanes.scales_per_step,
            "PAIR": lanes.pair,
            "WARPS": WARPS,
            "INTERPRET": triton.knobs.runtime.interpret,
        }
        options = {"num_warps": WARPS}
        self.launches = tuple(
            Launch(dequantize_kernel, constants | {"EVEN": even}, options) for even in (False, True)
        )

    def __call__(self, out: Tensor, first_row: int = 0, expert: int = 0) -> Tensor:
        """Rows from `first_row`, a multiple of 16, into `out` `[rows, K]`, contiguous; gives `out`."""
        lanes = self.lanes
        rows = out.shape[0]
        aligned = out.data_ptr() % 16 == 0
        even = lanes.k % 8 == 0 and aligned
        grid = triton.cdiv(triton.cdiv(rows, TILE_ROWS) * lanes.steps, WARPS)
        stored = out.view(torch.int32 if even else torch.int16)
        first_tile = expert * lanes.tiles + first_row // TILE_ROWS
        self.launches[even](
            (grid, 1, 1), (aligned,), lanes.words, lanes.scales, stored, first_tile, rows, lanes.k,
            lanes.steps, lanes.k // (4 * lanes.pair),
        )  # fmt: skip
        return out


def dequantize_rows(lanes: LaneMatrix, out: Tensor, first_row: int = 0, expert: int = 0) -> Tensor:
    """`Dequantize` for one use."""
    return Dequantize(lanes, out.dtype)(out, first_row, expert)


def dequantize_reference(lanes: LaneMatrix, dtype: torch.dtype) -> Tensor:
    """All rows in plain PyTorch, `[N, K]` or `[E, N, K]`."""
    return from_lanes(lanes).dequantize(torch.float32).to(dtype)
