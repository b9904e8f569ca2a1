# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="untyped-decorator, assignment, misc"
# ruff: noqa: B007, PLR0912, PLR0915, PLR0917, RUF005 — Gluon compiles one branch of an `if`, takes many arguments
# and no starred tuples
"""Many routed rows on Hopper: warpgroup matrix units fed from registers, in Gluon.

    out[row[m], n] = Σ_k x[m, k] * code[e, n, k] * scale[e, n, k // group]        e: the expert of m's tile

x is rows of a stack's experts in tiles of one expert each (`kernels.wide_experts`); plain matrices are
multiplied by `kernels.ring`. The weights are the left operand. Each lane loads the packed words of its own
fragments (lane order, see `kernels.lane_layout`), unpacks them in registers and hands them to `wgmma`;
dequantized weights never touch shared memory. The activations are the right operand, in a ring of
shared-memory blocks of 64 columns filled by asynchronous copies.

    a block:  16 W R rows of an expert's weights (W warps)  x  a tile of BM rows of the activations

              block of 64 columns ->
              ┌────┬────┬────┬────┬─        registers: words of the next step are under way while this one
        64 W/4│ 0  │ 1  │ 2  │ 3  │ …       is unpacked; unpacking block j + 1 overlaps the matrix unit on j
              └────┴────┴────┴────┴─
    x ring:   [ j ][j+1][   ][   ]          shared memory, STAGES times XJ blocks of [BM, 64]

All blocks of one tile of rows come first, then those of the next, so programs side by side share rows and
expert. Program p of P takes the blocks p, p + P, p + 2 P …, whose steps are the line that it walks. How many
tiles there are is read on the device.

A lane reads its activations of 32 columns as 8 neighbours (`kernels.decode`), the matrix unit wants pairs 8
columns apart. So `gather_kernel` first writes x in the order in which the fragments meet it.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    warpgroup_mma,
    warpgroup_mma_init,
    warpgroup_mma_wait,
)

from kernels.wide_operands import (
    copy_words,
    copy_x,
    left_operand,
    load_scales,
    routed_place,
    step_of_stack,
    words_in_registers,
    words_of_tiles,
)

# Triton 3.7 gave the barrier of a program a shorter name.
barrier = gl.barrier if hasattr(gl, "barrier") else gl.thread_barrier


@gluon.jit(do_not_specialize=["m_tiles", "blocks"])
def wide_kernel(
    x_ptr,  # reordered activations [K/64, x_rows, 64]
    words_ptr,  # packed weights in lane order
    scales_ptr,  # their scale words
    out_ptr,
    row_ptr,  # int32, the row of the result that each row of x makes, below zero: none
    expert_ptr,  # int32, the expert of each tile of rows, and then how many tiles there are
    N,
    x_rows,  # rows of x, filled up to whole tiles
    tiles,  # of 16 rows of one expert's weights
    steps,
    m_tiles,  # that there is room for
    blocks,  # of one tile of rows
    BITS: gl.constexpr,
    GROUPS: gl.constexpr,  # scales in a step, 0: one a row
    BM: gl.constexpr,
    W: gl.constexpr,
    R: gl.constexpr,
    STAGES: gl.constexpr,
    XJ: gl.constexpr,
    SLOTS: gl.constexpr,
    LOAD_SCALES: gl.constexpr,
    UNPACK: gl.constexpr,
):
    DTYPE: gl.constexpr = out_ptr.dtype.element_ty
    STEP_BLOCKS: gl.constexpr = 2 if BITS == 8 else 4
    STEP_WORDS: gl.constexpr = 384 if BITS == 3 else 512
    TILES: gl.constexpr = R * W
    SCALE_BYTES: gl.constexpr = 32 * GROUPS
    AHEAD: gl.constexpr = STAGES - 2  # stages in flight: one is read now, one was until just now
    mma: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[W, 1], instr_shape=[16, BM, 16]
    )
    dot: gl.constexpr = gl.DotOperandLayout(0, mma, 2)
    stores: gl.constexpr = gl.BlockedLayout([8, 1], [2 * W, 16 // W], [1, W], [0, 1])
    ring = gl.allocate_shared_memory(DTYPE, [STAGES * XJ, BM, 64], gl.NVMMASharedLayout(128, 16, 2))
    plain: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [2, 1, 0])
    if BITS == 3:
        word_rings = (
            gl.allocate_shared_memory(gl.int32, [SLOTS, TILES, 64, 4], plain),
            gl.allocate_shared_memory(gl.int32, [SLOTS, TILES, 32, 4], plain),
        )
        word_places = (
            words_of_tiles(words_ptr, steps, STEP_WORDS, 0, 256, TILES, W),
            words_of_tiles(words_ptr, steps, STEP_WORDS, 256, 128, TILES, W),
        )
    else:
        word_rings = (gl.allocate_shared_memory(gl.int32, [SLOTS, TILES, 128, 4], plain),)
        word_places = (words_of_tiles(words_ptr, steps, STEP_WORDS, 0, 512, TILES, W),)
    program = gl.program_id(0)
    programs = gl.num_programs(0)
    block = program
    m_tile, n_block, expert = routed_place(expert_ptr, block, blocks, m_tiles)
    next_m_tile, next_n_block, next_expert = routed_place(expert_ptr, block + programs, blocks, m_tiles)
    end = gl.load(expert_ptr + m_tiles) * blocks
    # The words run ahead by SLOTS - 1 steps, on their own place on the line. The last block overlaps the one
    # before where its tiles do not come out even; its store leaves that part out.
    words_block = n_block
    words_expert = expert
    words_at = block
    words_step = program * 0
    for slot in gl.static_range(SLOTS - 1):
        start = step_of_stack(words_block, words_step, words_expert, tiles, steps, TILES)
        copy_words(word_places, word_rings, slot, start * STEP_WORDS, BITS)
        words_step += 1
        if words_step == steps:
            words_step = words_step * 0
            words_at += programs
            _, words_block, words_expert = routed_place(expert_ptr, words_at, blocks, m_tiles)

    # All 8 elements of a lane hold the same offset, so it takes one register.
    n = gl.arange(0, 16 * W, gl.SliceLayout(1, dot))[:, None]
    c = gl.arange(0, 16, gl.SliceLayout(0, dot))[None, :]
    nowhere = gl.zeros([16 * W, 16], gl.int64, dot)
    scale_off = n // 16 * (steps * SCALE_BYTES) + n % 8 * (4 * GROUPS) + c * 0
    if GROUPS:
        start = step_of_stack(n_block, 0, expert, tiles, steps, TILES)
        scales = load_scales(
            nowhere + (scales_ptr.to(gl.int64) + start * SCALE_BYTES),
            scale_off,
            LOAD_SCALES,
            R,
            W * steps * SCALE_BYTES,
        )

    copies: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [W, 1], [1, 0])
    x_row = gl.arange(0, BM, gl.SliceLayout(1, copies))
    x_place = x_ptr + x_row[:, None] * 64 + gl.arange(0, 64, gl.SliceLayout(0, copies))[None, :]
    # The copies run ahead: their own place on the line.
    copy_m_tile = m_tile
    copy_at = block
    copy_block = program * 0
    for stage in gl.static_range(AHEAD):
        copy_x(x_place, ring, stage, copy_m_tile, copy_block, x_rows, BM, XJ)
        async_copy.commit_group()
        copy_block += XJ
        if copy_block == steps * STEP_BLOCKS:
            copy_block = copy_block * 0
            copy_at += programs
            copy_m_tile = gl.minimum(copy_at // blocks, m_tiles - 1)

    read_stage = program * 0
    copy_stage = read_stage + AHEAD
    read_slot = program * 0
    copy_slot = read_slot + SLOTS - 1
    while block < end:
        # Read a block before it is wanted, so that nothing waits for it.
        later = routed_place(expert_ptr, block + 2 * programs, blocks, m_tiles)
        acc = ()
        for r in gl.static_range(R):
            acc = acc + (warpgroup_mma_init(gl.zeros([16 * W, BM], gl.float32, mma)),)
        for current in range(steps):
            if GROUPS:
                # The next step on the line is of the next block where this one ends.
                ends = current + 1 == steps
                next_block = gl.where(ends, next_n_block, n_block)
                of_expert = gl.where(ends, next_expert, expert)
                next_step = gl.where(ends, 0, current + 1)
                start = step_of_stack(next_block, next_step, of_expert, tiles, steps, TILES)
                scales_ahead = load_scales(
                    nowhere + (scales_ptr.to(gl.int64) + start * SCALE_BYTES),
                    scale_off,
                    LOAD_SCALES,
                    R,
                    W * steps * SCALE_BYTES,
                )
            for j in gl.static_range(STEP_BLOCKS):
                if j % XJ == 0:
                    async_copy.wait_group(AHEAD - 1)
                    fence_async_shared()
                    barrier()
                    copy_x(x_place, ring, copy_stage, copy_m_tile, copy_block, x_rows, BM, XJ)
                    copy_block += XJ
                    if copy_block == steps * STEP_BLOCKS:
                        copy_block = copy_block * 0
                        copy_at += programs
                        copy_m_tile = gl.minimum(copy_at // blocks, m_tiles - 1)
                    copy_stage = gl.where(copy_stage + 1 == STAGES, 0, copy_stage + 1)
                    if j == 0:
                        words = ()
                        for r in gl.static_range(R):
                            words = words + (words_in_registers(word_rings, read_slot, r, R, BITS, W, dot),)
                        read_slot = gl.where(read_slot + 1 == SLOTS, 0, read_slot + 1)
                        start = step_of_stack(words_block, words_step, words_expert, tiles, steps, TILES)
                        copy_words(word_places, word_rings, copy_slot, start * STEP_WORDS, BITS)
                        copy_slot = gl.where(copy_slot + 1 == SLOTS, 0, copy_slot + 1)
                        words_step += 1
                        if words_step == steps:
                            words_step = words_step * 0
                            words_at += programs
                            _, words_block, words_expert = routed_place(expert_ptr, words_at, blocks, m_tiles)
                    async_copy.commit_group()
                right = ring.index(read_stage * XJ + j % XJ).permute((1, 0))
                sums = ()
                for r in gl.static_range(R):
                    if GROUPS:
                        left = left_operand(words[r], scales[r], UNPACK, j, DTYPE, W, dot)
                    else:
                        left = left_operand(words[r], words[r][0], UNPACK, j, DTYPE, W, dot)
                    sums = sums + (warpgroup_mma(left, right, acc[r], is_async=True),)
                acc = sums
                if j % XJ == 0:
                    # All but these are done: the stage before is free for the copy after the next barrier.
                    if R == 1:
                        acc = (warpgroup_mma_init(warpgroup_mma_wait(1, deps=(acc[0],))),)
                    else:
                        done = warpgroup_mma_wait(2, deps=(acc[0], acc[1]))
                        acc = (warpgroup_mma_init(done[0]), warpgroup_mma_init(done[1]))
                if j % XJ == XJ - 1:
                    read_stage = gl.where(read_stage + 1 == STAGES, 0, read_stage + 1)
            if GROUPS:
                scales = scales_ahead
        if R == 1:
            totals = (warpgroup_mma_wait(0, deps=(acc[0],)),)
        else:
            totals = warpgroup_mma_wait(0, deps=(acc[0], acc[1]))

        for r in gl.static_range(R):
            total = totals[r]
            first_row = gl.minimum(n_block * TILES, tiles - TILES) * 16 + r * 16 * W
            if GROUPS == 0:
                row = gl.arange(0, 16 * W, gl.SliceLayout(1, mma))
                at = gl.minimum(first_row + row, N - 1)
                # One word holds the scales of rows g and g + 8 of a tile.
                halves = at // 16 * 16 + at % 8 * 2 + at % 16 // 8 + expert * (tiles * 16)
                total *= gl.load(scales_ptr + halves).to(gl.float32)[:, None]
            y = gl.convert_layout(total.to(DTYPE), stores)
            out_n = first_row + gl.arange(0, 16 * W, gl.SliceLayout(1, stores))[:, None]
            out_m = m_tile * BM + gl.arange(0, BM, gl.SliceLayout(0, stores))[None, :]
            out_m = gl.load(row_ptr + out_m)
            inside = (out_n >= n_block * 16 * TILES) & (out_n < N) & (out_m >= 0)
            gl.store(out_ptr + out_m.to(gl.int64) * N + out_n, y, mask=inside)
        block += programs
        m_tile, n_block, expert = next_m_tile, next_n_block, next_expert
        next_m_tile, next_n_block, next_expert = later
    async_copy.wait_group(0)
