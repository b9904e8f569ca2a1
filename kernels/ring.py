# mypy: allow-untyped-defs, allow-incomplete-defs
# mypy: disable-error-code="untyped-decorator, assignment, misc, has-type"
# ruff: noqa: B007, F821, PLR0912, PLR0915, PLR0917, RUF005 — Gluon compiles one branch of an `if`, takes many
# arguments and no starred tuples
"""The product of `kernels.wide` with other ways in: words and activations arrive through the copy engine.

    out[m, n] = Σ_k x[m, k] * code[n, k] * scale[n, k // group] + bias[n]

The weights are the left operand as there, unpacked in registers from lane order. Three things differ:

- The copies are those of Hopper's copy engine (TMA), which count their bytes at a barrier in shared memory.
  One thread starts them, none computes addresses, and no fence stands between them and the matrix unit. In
  the loop of `wide_kernel` a step of 256 columns at 64 rows has 8 barriers and 4 fences that wait for memory,
  of which the compiler adds all but 2 and 2; here it has 6 and 1, and up to 32 rows 3 and 1.
- SUMS: a group's scale meets its sums in float32, as in the decode kernel, instead of its weights. That takes
  fewer instructions up to 32 rows, and keeps the codes exact.
- The line of all steps of all blocks is cut into spans of equal length, so no program has more to do than
  another. A block that two or more programs share is added up by whoever comes last, in their order, so the
  result is the same bit for bit.

    program p:  steps p * span … of the line        │ block 0        │ block 1        │ block 2   …
                                                    │ p 0      │ p 1      │ p 2      │ p 3
                                                      whole block: stored; part of one: its sums to a slab
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_init,
    warpgroup_mma_wait,
)

from kernels.wide_operands import left_operand, load_scales

barrier = gl.barrier if hasattr(gl, "barrier") else gl.thread_barrier


@gluon.jit
def words_of_stage(ring, slot, W: gl.constexpr, dot: gl.constexpr):
    """The words of W tiles as two tensors in the operand's layout (see `words_in_registers`)."""
    WARPS: gl.constexpr = [[1, 0, 0], [2, 0, 0]] if W == 4 else [[1, 0, 0], [2, 0, 0], [4, 0, 0]]
    quads: gl.constexpr = gl.DistributedLinearLayout(
        [[0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 2, 0]],
        [[0, 0, 4], [0, 0, 8], [0, 0, 16], [0, 0, 32], [0, 0, 64]],
        WARPS,
        [],
        [W, 4, 128],
    )
    w = ring.index(slot).load(quads)
    w = gl.permute(gl.reshape(w, (W, 2, 2, 8, 4, 2, 2)), (0, 1, 3, 2, 4, 6, 5))
    first, second = gl.split(gl.reshape(w, (16 * W, 16, 2)))
    first = gl.convert_layout(first, dot, assert_trivial=True)
    second = gl.convert_layout(second, dot, assert_trivial=True)
    return first, second


@gluon.jit
def fetch_words(words_desc, ring, ready, slot, block, step, tiles, wanted, R: gl.constexpr, W: gl.constexpr):
    """Start the copy of one step's words of R · W tiles, whose bytes `ready` expects already."""
    first = gl.minimum(block * (R * W), tiles - R * W)
    for r in gl.static_range(R):
        tma.async_copy_global_to_shared(
            words_desc,
            [first + r * W, step * 4, 0],
            ready.index(slot),
            ring.index(slot * R + r),
            pred=wanted,
        )


@gluon.jit
def fetch_x(x_desc, ring, ready, stage, m_tile, block, wanted, BM: gl.constexpr):
    """Start the copy of a stage's blocks of 64 columns of one tile of rows, whose bytes `ready` expects."""
    tma.async_copy_global_to_shared(
        x_desc, [block, m_tile * BM, 0], ready.index(stage), ring.index(stage), pred=wanted
    )


@gluon.jit
def load_group_scales(pointer, start, GROUPS: gl.constexpr, R: gl.constexpr, tile_halves):
    """The scales [16 W] of each group of a step, for R tiles: R * GROUPS tensors."""
    found = ()
    for r in gl.static_range(R):
        for g in gl.static_range(GROUPS):
            found = found + (gl.load(pointer + (start * (16 * GROUPS) + (r * tile_halves + 2 * g))),)
    return found


@gluon.jit
def add_scaled(
    totals, sums, scales, g: gl.constexpr, running: gl.constexpr, later, R: gl.constexpr, GROUPS: gl.constexpr
):
    """totals + the sums of group g times its scales; then the sums that still run, `running` calls a tile."""
    done = warpgroup_mma_wait(running * R, deps=sums + later)
    if R == 1 and running == 0:
        done = (done,)
    added = ()
    for r in gl.static_range(R):
        added = added + (totals[r] + done[r] * scales[r * GROUPS + g].to(gl.float32)[:, None],)
    if running > 0:
        for r in gl.static_range(R):
            added = added + (warpgroup_mma_init(done[R + r]),)
    return added


@gluon.jit(do_not_specialize=["M", "m_tiles", "blocks", "span"])
def ring_kernel(
    x_desc,  # reordered activations [K/64 * x_rows, 64], boxes [BM, 64]
    words_desc,  # lane order [tiles, steps * 4, 128], boxes [W, 4, 128]
    scales_ptr,
    bias_ptr,
    out_ptr,
    partial_ptr,  # float32, two slabs [16 W R, BM] a program
    arrived_ptr,  # int32 a block, zero between launches
    M,
    N,
    x_rows,
    tiles,
    steps,
    m_tiles,
    blocks,
    span,  # steps of a program
    BITS: gl.constexpr,
    GROUPS: gl.constexpr,
    BM: gl.constexpr,
    W: gl.constexpr,
    R: gl.constexpr,
    STAGES: gl.constexpr,
    XJ: gl.constexpr,
    SLOTS: gl.constexpr,
    HAS_BIAS: gl.constexpr,
    LOAD_SCALES: gl.constexpr,
    UNPACK: gl.constexpr,
    SUMS: gl.constexpr,  # scales meet the sums of their groups; else the weights
    DEPENDENT: gl.constexpr,
):
    DTYPE: gl.constexpr = out_ptr.dtype.element_ty
    STEP_BLOCKS: gl.constexpr = 2 if BITS == 8 else 4
    TILES: gl.constexpr = R * W
    SCALE_BYTES: gl.constexpr = 32 * GROUPS
    WORD_BYTES: gl.constexpr = 2048 * TILES
    X_BYTES: gl.constexpr = 128 * BM * XJ
    GROUP_BLOCKS: gl.constexpr = STEP_BLOCKS // GROUPS if SUMS else 1
    AHEAD: gl.constexpr = STAGES - 1
    mma: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[W, 1], instr_shape=[16, BM, 16]
    )
    dot: gl.constexpr = gl.DotOperandLayout(0, mma, 2)
    slab: gl.constexpr = 16 * W * BM
    stores: gl.constexpr = gl.BlockedLayout([8, 1], [2 * W, 16 // W], [1, W], [0, 1])
    ring = gl.allocate_shared_memory(DTYPE, [STAGES, XJ, BM, 64], gl.NVMMASharedLayout(128, 16, 3))
    word_ring = gl.allocate_shared_memory(gl.int32, [SLOTS * R, W, 4, 128], gl.NVMMASharedLayout(0, 32, 3))
    x_ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    w_ready = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for s in gl.static_range(STAGES):
        mbarrier.init(x_ready.index(s), count=1)
    for s in gl.static_range(SLOTS):
        mbarrier.init(w_ready.index(s), count=1)
    program = gl.program_id(0)
    begin = program * span
    unit = begin
    end = gl.minimum(begin + span, blocks * steps)
    block = unit // steps
    step = unit % steps
    n_block = block // m_tiles
    m_tile = block % m_tiles

    words_unit = unit
    words_step = step
    words_block = n_block
    words_m = m_tile
    for slot in gl.static_range(SLOTS):
        mbarrier.expect(w_ready.index(slot), WORD_BYTES, pred=unit + slot < end)
    for slot in gl.static_range(SLOTS):
        fetch_words(
            words_desc, word_ring, w_ready, slot, words_block, words_step, tiles, words_unit < end, R, W
        )
        words_unit += 1
        words_step += 1
        over = words_step == steps
        words_step = gl.where(over, 0, words_step)
        words_block += (over & (words_m + 1 == m_tiles)).to(gl.int32)
        words_m = gl.where(over, gl.where(words_m + 1 == m_tiles, 0, words_m + 1), words_m)

    n = gl.arange(0, 16 * W, gl.SliceLayout(1, dot))[:, None]
    c = gl.arange(0, 16, gl.SliceLayout(0, dot))[None, :]
    nowhere = gl.zeros([16 * W, 16], gl.int64, dot)
    scale_off = n // 16 * (steps * SCALE_BYTES) + n % 8 * (4 * GROUPS) + c * 0
    m_row = gl.arange(0, 16 * W, gl.SliceLayout(1, mma))
    scale_ptr = scales_ptr + (
        m_row // 16 * (steps * (16 * GROUPS)) + m_row % 8 * (2 * GROUPS) + m_row % 16 // 8
    )
    if GROUPS:
        start = gl.minimum(n_block * TILES, tiles - TILES).to(gl.int64) * steps + step
    if SUMS:
        scales = load_group_scales(scale_ptr, start, GROUPS, R, W * steps * (16 * GROUPS))
    elif GROUPS:
        scales = load_scales(
            nowhere + (scales_ptr.to(gl.int64) + start * SCALE_BYTES),
            scale_off,
            LOAD_SCALES,
            R,
            W * steps * SCALE_BYTES,
        )
    copy_m = m_tile
    if DEPENDENT:
        copy_m += gl.inline_asm_elementwise(
            "griddepcontrol.launch_dependents; griddepcontrol.wait; mov.b32 $0, 0;",
            "=r,r",
            [copy_m],
            gl.int32,
            False,
            1,
        )
    copy_unit = unit * STEP_BLOCKS
    copy_block = step * STEP_BLOCKS
    last = end * STEP_BLOCKS
    for stage in gl.static_range(AHEAD):
        mbarrier.expect(x_ready.index(stage), X_BYTES, pred=copy_unit + stage * XJ < last)
    for stage in gl.static_range(AHEAD):
        fetch_x(x_desc, ring, x_ready, stage, copy_m, copy_block, copy_unit < last, BM)
        copy_unit += XJ
        copy_block += XJ
        over = copy_block == steps * STEP_BLOCKS
        copy_block = gl.where(over, 0, copy_block)
        copy_m = gl.where(over, gl.where(copy_m + 1 == m_tiles, 0, copy_m + 1), copy_m)

    read_stage = program * 0
    x_phase = program * 0
    copy_stage = read_stage + AHEAD
    slot = program * 0
    w_phase = program * 0
    while unit < end:
        last_step = gl.minimum(steps, step + end - unit)
        count = last_step - step
        acc = ()
        totals = ()
        for r in gl.static_range(R):
            totals = totals + (gl.zeros([16 * W, BM], gl.float32, mma),)
            if not SUMS:
                acc = acc + (warpgroup_mma_init(gl.zeros([16 * W, BM], gl.float32, mma)),)
        for current in range(step, last_step):
            for j in gl.static_range(STEP_BLOCKS):
                if j == 0:
                    mbarrier.wait(w_ready.index(slot), w_phase)
                    words = ()
                    for r in gl.static_range(R):
                        words = words + (words_of_stage(word_ring, slot * R + r, W, dot),)
                if j % XJ == 0:
                    mbarrier.wait(x_ready.index(read_stage), x_phase)
                right = ring.index(read_stage).reshape([XJ * BM, 64]).slice(j % XJ * BM, BM).permute((1, 0))
                sums = ()
                for r in gl.static_range(R):
                    if GROUPS and not SUMS:
                        left = left_operand(words[r], scales[r], UNPACK, j, DTYPE, W, dot)
                    else:
                        left = left_operand(words[r], words[r][0], UNPACK, j, DTYPE, W, dot)
                    if SUMS and j % GROUP_BLOCKS == 0:
                        nothing = gl.zeros([16 * W, BM], gl.float32, mma)
                        sums = sums + (warpgroup_mma(left, right, nothing, use_acc=False, is_async=True),)
                    else:
                        sums = sums + (warpgroup_mma(left, right, acc[r], is_async=True),)
                if SUMS and j % GROUP_BLOCKS == GROUP_BLOCKS - 1:
                    if j >= GROUP_BLOCKS:
                        totals = add_scaled(
                            totals, before, scales, j // GROUP_BLOCKS - 1, GROUP_BLOCKS, sums, R, GROUPS
                        )
                        sums = totals[R:]
                        totals = totals[:R]
                    before = sums
                    if j == STEP_BLOCKS - 1:
                        totals = add_scaled(totals, before, scales, j // GROUP_BLOCKS, 0, (), R, GROUPS)
                acc = sums
                if j % XJ == 0:
                    # All but these are done: the stage before is free once every warp is here.
                    # With SUMS that stage's step has ended, and all of it is done.
                    if not SUMS and R == 1:
                        acc = (warpgroup_mma_init(warpgroup_mma_wait(1, deps=(acc[0],))),)
                    elif not SUMS:
                        done = warpgroup_mma_wait(2, deps=(acc[0], acc[1]))
                        acc = (warpgroup_mma_init(done[0]), warpgroup_mma_init(done[1]))
                    mbarrier.expect(x_ready.index(copy_stage), X_BYTES, pred=copy_unit < last)
                    if j == 0:
                        mbarrier.expect(w_ready.index(slot), WORD_BYTES, pred=words_unit < end)
                    barrier()
                    fetch_x(x_desc, ring, x_ready, copy_stage, copy_m, copy_block, copy_unit < last, BM)
                    copy_unit += XJ
                    copy_block += XJ
                    over = copy_block == steps * STEP_BLOCKS
                    copy_block = gl.where(over, 0, copy_block)
                    copy_m = gl.where(over, gl.where(copy_m + 1 == m_tiles, 0, copy_m + 1), copy_m)
                    copy_stage = gl.where(copy_stage + 1 == STAGES, 0, copy_stage + 1)
                    if j == 0:
                        wanted = words_unit < end
                        fetch_words(
                            words_desc, word_ring, w_ready, slot, words_block, words_step, tiles, wanted, R, W
                        )
                        words_unit += 1
                        words_step += 1
                        over = words_step == steps
                        words_step = gl.where(over, 0, words_step)
                        words_block += (over & (words_m + 1 == m_tiles)).to(gl.int32)
                        words_m = gl.where(over, gl.where(words_m + 1 == m_tiles, 0, words_m + 1), words_m)
                        w_phase = gl.where(slot + 1 == SLOTS, w_phase ^ 1, w_phase)
                        slot = gl.where(slot + 1 == SLOTS, 0, slot + 1)
                        if GROUPS:
                            ends = current + 1 == steps
                            next_block = gl.where(ends & (m_tile + 1 == m_tiles), n_block + 1, n_block)
                            next_step = gl.where(ends, 0, current + 1)
                            start = (
                                gl.minimum(next_block * TILES, tiles - TILES).to(gl.int64) * steps + next_step
                            )
                            if SUMS:
                                scales_ahead = load_group_scales(
                                    scale_ptr, start, GROUPS, R, W * steps * (16 * GROUPS)
                                )
                            else:
                                scales_ahead = load_scales(
                                    nowhere + (scales_ptr.to(gl.int64) + start * SCALE_BYTES),
                                    scale_off,
                                    LOAD_SCALES,
                                    R,
                                    W * steps * SCALE_BYTES,
                                )
                if j % XJ == XJ - 1:
                    x_phase = gl.where(read_stage + 1 == STAGES, x_phase ^ 1, x_phase)
                    read_stage = gl.where(read_stage + 1 == STAGES, 0, read_stage + 1)
            if GROUPS:
                scales = scales_ahead
            if SUMS:
                acc = ()
        if not SUMS:
            if R == 1:
                totals = (warpgroup_mma_wait(0, deps=(acc[0],)),)
            else:
                totals = warpgroup_mma_wait(0, deps=(acc[0], acc[1]))

        block_start = unit - step
        ours = count == steps
        place = gl.arange(0, 16 * W, gl.SliceLayout(1, mma))[:, None] * BM
        place += gl.arange(0, BM, gl.SliceLayout(0, mma))[None, :]
        if count < steps:
            mine = 2 * program + (unit > begin).to(gl.int32)
            for r in gl.static_range(R):
                gl.store(partial_ptr + (mine * R + r).to(gl.int64) * slab + place, totals[r])
            barrier()
            first_program = block_start // span
            last_program = (block_start + steps - 1) // span
            counter = arrived_ptr + block_start // steps
            ours = gl.atomic_add(counter, 1, sem="acq_rel") == last_program - first_program
            if ours:
                sums = ()
                for r in gl.static_range(R):
                    total = gl.zeros([16 * W, BM], gl.float32, mma)
                    for q in range(first_program, last_program + 1):
                        slot_of = 2 * q + (q * span < block_start).to(gl.int32)
                        theirs = partial_ptr + (slot_of * R + r).to(gl.int64) * slab + place
                        total += gl.load(theirs, cache_modifier=".cg")
                    sums = sums + (total,)
                totals = sums
                gl.store(counter, 0)
        if ours:
            for r in gl.static_range(R):
                total = totals[r]
                first_row = gl.minimum(n_block * TILES, tiles - TILES) * 16 + r * 16 * W
                row = gl.arange(0, 16 * W, gl.SliceLayout(1, mma))
                at = gl.minimum(first_row + row, N - 1)
                if GROUPS == 0:
                    halves = at // 16 * 16 + at % 8 * 2 + at % 16 // 8
                    total *= gl.load(scales_ptr + halves).to(gl.float32)[:, None]
                if HAS_BIAS:
                    total += gl.load(bias_ptr + at).to(gl.float32)[:, None]
                y = gl.convert_layout(total.to(DTYPE), stores)
                out_n = first_row + gl.arange(0, 16 * W, gl.SliceLayout(1, stores))[:, None]
                out_m = m_tile * BM + gl.arange(0, BM, gl.SliceLayout(0, stores))[None, :]
                inside = (out_n >= n_block * 16 * TILES) & (out_n < N) & (out_m < M)
                gl.store(out_ptr + out_m.to(gl.int64) * N + out_n, y, mask=inside)
        unit += count
        step = step * 0
        n_block += (m_tile + 1 == m_tiles).to(gl.int32)
        m_tile = gl.where(m_tile + 1 == m_tiles, 0, m_tile + 1)
    for s in gl.static_range(STAGES):
        mbarrier.invalidate(x_ready.index(s))
    for s in gl.static_range(SLOTS):
        mbarrier.invalidate(w_ready.index(s))
