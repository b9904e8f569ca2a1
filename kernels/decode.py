# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0912, PLR0915, PLR0917, RUF005, SIM102 — Triton compiles one branch of an `if` and takes
# many arguments
"""Fused dequantize + matmul for few rows of x (up to 32), on weights in lane order.

    out[m, n] = Σ_k x[m, k] * code[n, k] * scale[n, k // group] + bias[n] + residual[m, n]
    or, with an activation, act(first half of n) * (second half of n), and x scaled by an RMS norm before

x `[M, K]` float16 or bfloat16, out `[M, N]` (`[M, N / 2]` with an activation) in x's dtype, sums in float32.

    one block = ROW_TILES tiles of 16 weight rows, all of K          K ->
                     ┌──────┬──────┬──────┬──────┬──────┬──────┐
            16 rows  │warp 0│warp 1│warp 2│warp 3│warp 0│warp 1│ …  a step each, in turn
                     └──────┴──────┴──────┴──────┴──────┴──────┘

Weights and scales are read DEPTH parts (a part is WARPS steps) ahead, straight into registers; a PERSISTENT
program goes on with the first part of its next block while it finishes one. The warps' sums are added in a
fixed order, so the result is the same bit for bit. With PDL the weights of the first parts are on their way
before the kernel that makes x is through.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import pad

from kernels.ends import fed_factors, late_factors, norm_factors, store_rows, sum_warps
from kernels.epilogue import ACTIVATIONS, NOTHING, Epilogue
from kernels.fragments import evict_first, launch_next, wait_for_previous, zero_sums
from kernels.lane_layout import LaneMatrix
from kernels.packed_matrix import PackedMatrix
from kernels.shared_blocks import block_after, exchange_sums, say_ready, share_of, wait_for_sums
from kernels.tiles import Gpu, Tile
from kernels.walk import accumulate_step, load_block, tile_pointers

CAPABILITY_OF_PDL = 90
CACHE_HINT = False  # ask L2 to drop weights first
LOAD = 8  # elements of x in one load
REGISTERS = 65536  # of a multiprocessor
TRITON_DTYPES = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@triton.jit
def finish_block(
    total,
    scales_ptr,
    bias_ptr,
    residual_ptr,
    out_ptr,
    next_ptr,
    next_scaled_ptr,
    next_squares_ptr,
    sums_ptr,
    ready_ptr,
    fed,  # of each tile of x the factors of a norm that are known already
    block,
    missing,  # the block's first parts are another program's
    passed,  # and so are its last ones
    M,
    N,
    tiles,
    tile_step,
    K,
    eps,
    scale_dtype: tl.constexpr,
    GROUPS: tl.constexpr,
    ROW_TILES: tl.constexpr,
    N_TILES: tl.constexpr,
    WARPS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    FACTORS: tl.constexpr,  # of a norm: "late" from the sums, "fed", ""
    FEEDS: tl.constexpr,
    STREAM: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """Add the warps' sums and write the block's outputs, or leave the sums for who has the rest of it."""
    PAIRED: tl.constexpr = ACTIVATION != ""
    columns = N // 2 if PAIRED else N
    if STREAM:
        if missing:
            wait_for_sums(ready_ptr)
        rows = tl.where(passed, 0, M)  # nothing is written of a block that goes on
    else:
        rows = M
    for nt in tl.static_range(N_TILES):
        if FACTORS == "fed":
            factors = fed[nt]
        if FACTORS == "late":
            factors = late_factors(total[ROW_TILES * N_TILES + nt], scales_ptr, K, eps, scale_dtype, WARPS)
        values = ()
        for r in tl.static_range(ROW_TILES):
            tile = block + r * tile_step if PAIRED else block * ROW_TILES + r
            value = sum_warps(total[r * N_TILES + nt], scales_ptr, tile, tiles, scale_dtype, GROUPS, WARPS)
            if STREAM:
                value = exchange_sums(value, sums_ptr, missing, passed, r * N_TILES + nt, ROW_TILES * N_TILES)
            if FACTORS != "":
                value = value[0] * factors[0], value[1] * factors[1]
            values = values + (value,)
        for r in tl.static_range(1 if PAIRED else ROW_TILES):
            tile = block if PAIRED else block * ROW_TILES + r
            value = values[ROW_TILES - 1] if PAIRED else values[r]
            for e in tl.static_range(2):
                store_rows(
                    value[e], values[r][e], bias_ptr, residual_ptr, out_ptr, tile, 8 * nt + e, rows, columns,
                    next_ptr, next_scaled_ptr, next_squares_ptr, tiles, ACTIVATION, HAS_BIAS, HAS_RESIDUAL,
                    FEEDS, INTERPRET,
                )  # fmt: skip
    if STREAM:
        if passed:
            say_ready(ready_ptr)


@triton.jit(
    do_not_specialize=["M", "stride_x", "N", "K", "steps", "tiles", "eps"],
    do_not_specialize_on_alignment=[
        "x_ptr", "words_ptr", "scales_ptr", "bias_ptr", "residual_ptr", "norm_ptr", "out_ptr", "fed_ptr",
        "next_ptr", "next_scaled_ptr", "next_squares_ptr", "sums_ptr", "ready_ptr",
    ],
)  # fmt: skip
def decode_kernel(
    x_ptr,
    words_ptr,
    scales_ptr,
    bias_ptr,
    residual_ptr,
    norm_ptr,
    out_ptr,
    fed_ptr,  # of the norm: sums of squares of x, whose rows come times its weights
    next_ptr,  # weights of the norm that the result goes into, and the two things it is fed with
    next_scaled_ptr,
    next_squares_ptr,
    sums_ptr,  # of STREAM: float32 [programs, ROW_TILES * N_TILES, 128]
    ready_ptr,  # int32 [programs], zero between launches
    M,
    stride_x,
    N,
    K,
    steps,
    tiles,
    eps,
    BITS: tl.constexpr,
    GROUPS: tl.constexpr,  # scales a step; 0: one scale a row
    PAIR: tl.constexpr,
    scale_dtype: tl.constexpr,
    ROW_TILES: tl.constexpr,
    N_TILES: tl.constexpr,
    WARPS: tl.constexpr,
    DEPTH: tl.constexpr,
    UNROLL: tl.constexpr,
    PERSISTENT: tl.constexpr,
    STREAM: tl.constexpr,  # every program has as many parts as the others, and shares blocks with neighbours
    EVEN: tl.constexpr,  # steps is a multiple of WARPS
    EVEN_K: tl.constexpr,  # K is a multiple of the step
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    NORM: tl.constexpr,
    FED: tl.constexpr,
    PARTS: tl.constexpr,  # of FED: a power of two, at least the sums of a row
    FEEDS: tl.constexpr,
    PDL: tl.constexpr,
    CACHE_HINT: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    STEP: tl.constexpr = 128 if BITS == 8 else 256
    PAIRED: tl.constexpr = ACTIVATION != ""
    dtype: tl.constexpr = x_ptr.dtype.element_ty
    # x times the norm's weights may be more than float16 holds; a step past the end would count in its mean.
    LATE: tl.constexpr = NORM and dtype == tl.bfloat16 and EVEN and EVEN_K and not STREAM
    FACTORS: tl.constexpr = "fed" if FED else "late" if LATE else ""
    SUMS: tl.constexpr = (ROW_TILES + 1 if LATE else ROW_TILES) * N_TILES
    thread = tl.arange(0, 32 * WARPS)
    lane = thread % 32
    warp = thread // 32
    launch_next(lane, PDL)
    policy = evict_first(lane, CACHE_HINT)
    pointers = tile_pointers(words_ptr, scales_ptr, lane, BITS, GROUPS)
    parts = tl.cdiv(steps, WARPS)
    # Gate rows are the first half of the tiles, up rows the second.
    tile_step = tiles // 2 if PAIRED else 1
    blocks = tiles // 2 if PAIRED else tl.cdiv(tiles, ROW_TILES)
    first = tl.program_id(0)
    stride = tl.num_programs(0)
    # Walked from part `part` of `block` to before part `end`, then on to `following_block`.
    begin = 0
    block_now = first
    part_now = first * 0
    end_now = parts
    count = parts
    if STREAM:
        begin = share_of(first, blocks * parts)
        end = share_of(first + 1, blocks * parts)
        count = end - begin
        block_now = (end - 1) // parts
        part_now = tl.maximum(begin - block_now * parts, 0)
        end_now = end - block_now * parts
    elif PERSISTENT:
        count = tl.cdiv(blocks - first, stride) * parts
    block_ahead = block_now
    part_ahead = part_now
    end_ahead = end_now
    queue = ()
    for _depth in tl.static_range(DEPTH):
        queue = queue + (
            load_block(
                pointers, policy, block_ahead, part_ahead, warp, steps, tiles, tile_step, ROW_TILES, WARPS,
                PAIRED, BITS, GROUPS, EVEN, CACHE_HINT, INTERPRET,
            ),
        )  # fmt: skip
        part_ahead += 1
        if PERSISTENT:
            if part_ahead == end_ahead:
                block_ahead, part_ahead = block_after(block_ahead, begin, parts, STREAM)
                end_ahead = parts
    zero = wait_for_previous(lane, PDL)
    x_words = x_ptr.to(tl.pointer_type(tl.int32), bitcast=True)
    norm_row = x_words
    if NORM:
        norm_row = norm_ptr.to(tl.pointer_type(tl.int32), bitcast=True)
    x_rows = ()
    for nt in tl.static_range(N_TILES):
        row = tl.minimum(lane // 4 + 8 * nt, M - 1).to(tl.int64)
        x_rows = x_rows + (x_words + (row * (stride_x // 2) + zero),)
    in_step = lane % 4 * (2 * PAIR)
    last = K // 2 - 2 * PAIR
    fed = ()
    if FED:  # once, while the first weights are on their way
        for nt in tl.static_range(N_TILES):
            fed = fed + (fed_factors(fed_ptr, 8 * nt, M, K, eps, PARTS),)
    factors = ()
    if NORM and not LATE:
        factors = norm_factors(
            x_rows, warp * (STEP // 2) + in_step, parts, K, eps, dtype, BITS, PAIR, WARPS, INTERPRET
        )
    total = zero_sums(SUMS, WARPS)
    for _ in tl.range(0, count, loop_unroll_factor=UNROLL):
        ahead = load_block(
            pointers, policy, block_ahead, part_ahead, warp, steps, tiles, tile_step, ROW_TILES, WARPS,
            PAIRED, BITS, GROUPS, EVEN, CACHE_HINT, INTERPRET,
        )  # fmt: skip
        step = part_now * WARPS + warp
        valid = (step < steps).to(tl.float32)
        if not EVEN:
            step = tl.minimum(step, steps - 1)
        total = accumulate_step(
            queue[0], x_rows, norm_row, factors, step * (STEP // 2) + in_step, last, valid, total, dtype,
            scale_dtype, BITS, GROUPS, PAIR, WARPS, EVEN, EVEN_K, NORM, LATE, INTERPRET,
        )  # fmt: skip
        queue = queue[1:] + (ahead,)
        part_ahead += 1
        part_now += 1
        if PERSISTENT:
            if part_ahead == end_ahead:
                block_ahead, part_ahead = block_after(block_ahead, begin, parts, STREAM)
                end_ahead = parts
        if PERSISTENT:
            if part_now == end_now:
                finish_block(
                    total, scales_ptr, bias_ptr, residual_ptr, out_ptr, next_ptr, next_scaled_ptr,
                    next_squares_ptr, sums_ptr, ready_ptr, fed, block_now, begin > block_now * parts,
                    end_now < parts, M, N, tiles, tile_step, K, eps, scale_dtype, GROUPS, ROW_TILES, N_TILES,
                    WARPS, ACTIVATION, HAS_BIAS, HAS_RESIDUAL, FACTORS, FEEDS, STREAM, INTERPRET,
                )  # fmt: skip
                total = zero_sums(SUMS, WARPS)
                block_now, part_now = block_after(block_now, begin, parts, STREAM)
                end_now = parts
    if not PERSISTENT:
        finish_block(
            total, scales_ptr, bias_ptr, residual_ptr, out_ptr, next_ptr, next_scaled_ptr, next_squares_ptr,
            sums_ptr, ready_ptr, fed, first, False, False, M, N, tiles, tile_step, K, eps, scale_dtype,
            GROUPS, ROW_TILES, N_TILES, WARPS, ACTIVATION, HAS_BIAS, HAS_RESIDUAL, FACTORS, FEEDS, False,
            INTERPRET,
        )  # fmt: skip


def scale_groups(w: LaneMatrix) -> int:
    """Scales a step, 0 for one a row."""
    return 0 if w.group_size is None else w.scales_per_step


def uses_dependent_launch(gpu: Gpu) -> bool:
    """Whether a kernel may start before the one ahead of it in the stream is through."""
    return gpu.capability >= CAPABILITY_OF_PDL and not triton.knobs.runtime.interpret


def launch_options(tile: Tile, dependent: bool, together: int) -> dict[str, int]:
    """How Triton compiles and launches with this tile, `together` programs on a multiprocessor.

    With one register too many the programs that are meant to run at once would run one after the other. 0 is
    left to the compiler: allowed 128 registers it takes them all, where it needs 80.
    """
    options = {"num_warps": tile.warps, "num_stages": 1}
    if together:
        options["maxnreg"] = min(255, REGISTERS // (32 * tile.warps * together) // 8 * 8)
    return options | ({"launch_pdl": True} if dependent else {})


def walk_constants(w: LaneMatrix, tile: Tile) -> dict[str, object]:
    """The compile-time constants of every kernel that walks along K."""
    return {
        "BITS": w.bits, "GROUPS": scale_groups(w), "PAIR": w.pair, "scale_dtype": TRITON_DTYPES[w.dtype],
        "ROW_TILES": tile.row_tiles, "N_TILES": tile.n_tiles, "WARPS": tile.warps, "DEPTH": tile.depth,
        "EVEN": w.steps % tile.warps == 0, "EVEN_K": w.k % w.step == 0, "CACHE_HINT": CACHE_HINT,
        "INTERPRET": triton.knobs.runtime.interpret,
    }  # fmt: skip


def whole_loads(x: Tensor) -> Tensor:
    """x as the kernel reads it, 16 bytes at a time: copied where a row starts or ends elsewhere."""
    m, k = x.shape
    if k % LOAD:
        return pad(x, (0, -k % LOAD))
    if x.data_ptr() % 16 or (m > 1 and x.stride(0) % LOAD):
        return x.clone(memory_format=torch.contiguous_format)
    return x


def decode_reference(x: Tensor, w: PackedMatrix, epilogue: Epilogue = NOTHING) -> Tensor:
    """The same in plain PyTorch and float64 `[M, N]`: what every kernel is measured against."""
    weights = w.dequantize(torch.float64)
    normed = x if epilogue.norm is None else epilogue.norm.apply(x)
    bias = None if epilogue.bias is None else epilogue.bias.double()
    out = functional.linear(normed.double(), weights, bias)
    if epilogue.activation is not None:
        gate, up = out.chunk(2, -1)
        out = ACTIVATIONS[epilogue.activation](gate) * up
    return out if epilogue.residual is None else out + epilogue.residual.double()
