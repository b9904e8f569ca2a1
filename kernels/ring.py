# mypy: allow-untyped-defs, allow-incomplete-defs
# mypy: disable-error-code="untyped-decorator, assignment, misc, has-type, var-annotated, unreachable"
# ruff: noqa: B007, F821, PLR0912, PLR0915, PLR0917, RUF005 — Gluon compiles one branch of an `if`, takes many
# arguments and no starred tuples
"""x times the weights of one matrix, from 9 rows on: fed by the copy engine, multiplied by the matrix unit.

    out[m, n] = Σ_k x[m, k] * code[n, k] * scale[n, k // group] + bias[n]

The weights are the left operand, unpacked in registers from lane order. A program is a warp that feeds and
one team of four warps that compute, or two:

    memory ──copy engine──> ring of DEPTH steps: x │ words │ scales ──┬─> team 0: unpack ─> matrix unit
                 ▲            ready[stage] ────────────────────────>  ├─> team 1: unpack ─> matrix unit
            feeding warp <──────────────────────────── free[stage] ───┘   (the next 64 rows of the weights)

- No team waits for another. All share the ring's x; each has its own rows of the weights, whose words and
  scales it takes out of the ring: when teams read their scales from memory, the matrix unit had to wait.
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
    warpgroup_mma,
    warpgroup_mma_init,
    warpgroup_mma_wait,
)

from kernels.ring_feed import feed, wait_for_previous
from kernels.ring_operands import block_operand, scales_of_slot, words_of_slot

barrier = gl.barrier if hasattr(gl, "barrier") else gl.thread_barrier


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


@gluon.jit
def compute(
    shared,
    results,
    sizes,
    GROUPS: gl.constexpr,
    R: gl.constexpr,
    TEAMS: gl.constexpr,
    TEAM: gl.constexpr,
    STAGES: gl.constexpr,
    PARTS: gl.constexpr,  # stages of a step
    HAS_BIAS: gl.constexpr,
    UNPACK: gl.constexpr,
    SUMS: gl.constexpr,
    AT_ONCE: gl.constexpr,
    DEPENDENT: gl.constexpr,
):
    """The products of the steps from `begin` to `end`, as their stages get ready."""
    ring, words, scale_ring, ready, free = shared
    scales_ptr, bias_ptr, out_ptr, partial_ptr, arrived_ptr = results
    begin, end, span, M, N, tiles, steps, m_tiles = sizes
    DTYPE: gl.constexpr = out_ptr.dtype.element_ty
    XJ: gl.constexpr = ring.shape[1]
    BM: gl.constexpr = ring.shape[2]
    STEP_BLOCKS: gl.constexpr = PARTS * XJ
    SLOTS: gl.constexpr = STAGES // PARTS
    TILES: gl.constexpr = 4 * R * TEAMS
    GROUP_BLOCKS: gl.constexpr = STEP_BLOCKS // GROUPS if SUMS else 1
    mma: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BM, 16]
    )
    dot: gl.constexpr = gl.DotOperandLayout(0, mma, 2)
    slab: gl.constexpr = 64 * BM
    stores: gl.constexpr = gl.BlockedLayout([8, 1], [8, 4], [1, 4], [0, 1])
    block = begin // steps
    n_block = block // m_tiles
    m_tile = block % m_tiles
    step = begin % steps
    rows: gl.constexpr = gl.SliceLayout(1, mma if SUMS else dot)
    nothing = gl.zeros([64, 1], DTYPE, dot)
    if DEPENDENT:
        step = wait_for_previous(step)

    slot = begin * 0
    phase = begin * 0
    unit = begin
    while unit < end:
        last_step = gl.minimum(steps, step + end - unit)
        count = last_step - step
        acc = ()
        totals = ()
        for r in gl.static_range(R):
            totals = totals + (gl.zeros([64, BM], gl.float32, mma),)
            if not SUMS:
                acc = acc + (gl.zeros([64, BM], gl.float32, mma),)
        for current in range(step, last_step):
            for j in gl.static_range(STEP_BLOCKS):
                stage = slot * PARTS + j // XJ
                if j % XJ == 0:
                    mbarrier.wait(ready.index(stage), phase)
                if j == 0:
                    held = ()
                    scales = ()
                    for r in gl.static_range(R):
                        held = held + (words_of_slot(words, slot * R + r, TEAM, dot),)
                        if GROUPS:
                            scales = scales + scales_of_slot(scale_ring, slot * R + r, TEAM, rows)
                right = ring.index(stage).reshape([XJ * BM, 64]).slice(j % XJ * BM, BM).permute((1, 0))
                sums = ()
                for r in gl.static_range(R):
                    if GROUPS and not SUMS:
                        first = scales[r * GROUPS + j * GROUPS // STEP_BLOCKS][:, None]
                        second = scales[r * GROUPS + (2 * j + 1) * GROUPS // (2 * STEP_BLOCKS)][:, None]
                    else:
                        first = nothing
                        second = nothing
                    left = block_operand(held[r], first, second, UNPACK, j, DTYPE, dot)
                    if SUMS and j % GROUP_BLOCKS == 0:
                        zeros = gl.zeros([64, BM], gl.float32, mma)
                        sums = sums + (warpgroup_mma(left, right, zeros, use_acc=False, is_async=True),)
                    else:
                        sums = sums + (warpgroup_mma(left, right, acc[r], is_async=True),)
                if SUMS and j % GROUP_BLOCKS == GROUP_BLOCKS - 1:
                    if j >= GROUP_BLOCKS:
                        totals = add_scaled(
                            totals, earlier, scales, j // GROUP_BLOCKS - 1, GROUP_BLOCKS, sums, R, GROUPS
                        )
                        sums = totals[R:]
                        totals = totals[:R]
                    earlier = sums
                    if j == STEP_BLOCKS - 1:
                        totals = add_scaled(totals, earlier, scales, j // GROUP_BLOCKS, 0, (), R, GROUPS)
                acc = sums
                if not SUMS or j % GROUP_BLOCKS < GROUP_BLOCKS - 1:
                    # All but these are done: weights of more blocks would not go into the registers.
                    if R == 1:
                        acc = (warpgroup_mma_init(warpgroup_mma_wait(1, deps=(acc[0],))),)
                    else:
                        done = warpgroup_mma_wait(2, deps=(acc[0], acc[1]))
                        acc = (warpgroup_mma_init(done[0]), warpgroup_mma_init(done[1]))
                if j % XJ == 0 and j > 0 and not SUMS:
                    mbarrier.arrive(free.index(stage - 1), count=1)
            # Products that are under way from step to step would be made one after the other: the compiler
            # has no registers for them then (ptxas C7512).
            if SUMS:
                acc = ()
            elif R == 1:
                acc = (warpgroup_mma_wait(0, deps=(acc[0],)),)
            else:
                acc = warpgroup_mma_wait(0, deps=(acc[0], acc[1]))
            mbarrier.arrive(free.index(slot * PARTS + PARTS - 1), count=1)
            phase = gl.where(slot + 1 == SLOTS, phase ^ 1, phase)
            slot = gl.where(slot + 1 == SLOTS, 0, slot + 1)
        if not SUMS:
            totals = acc

        block_start = unit - step
        ours = count == steps
        place = gl.arange(0, 64, gl.SliceLayout(1, mma))[:, None] * BM
        place += gl.arange(0, BM, gl.SliceLayout(0, mma))[None, :]
        if count < steps:
            program = begin // span
            mine = 2 * program + (unit > begin).to(gl.int32)
            for r in gl.static_range(R):
                ours_at = (mine * TEAMS + TEAM) * R + r
                gl.store(partial_ptr + ours_at.to(gl.int64) * slab + place, totals[r])
            barrier()
            first_program = block_start // span
            last_program = (block_start + steps - 1) // span
            counter = arrived_ptr + (block_start // steps * TEAMS + TEAM)
            ours = gl.atomic_add(counter, 1, sem="acq_rel") == last_program - first_program
            if ours:
                sums = ()
                for r in gl.static_range(R):
                    sums = sums + (gl.zeros([64, BM], gl.float32, mma),)
                for first in range(first_program, last_program + 1, AT_ONCE):
                    shares = ()
                    for i in gl.static_range(AT_ONCE):
                        q = first + i
                        slot_of = 2 * q + (q * span < block_start).to(gl.int32)
                        there = (place >= 0) & (q <= last_program)
                        for r in gl.static_range(R):
                            theirs = ((slot_of * TEAMS + TEAM) * R + r).to(gl.int64) * slab
                            share = gl.load(partial_ptr + theirs + place, there, 0.0, cache_modifier=".cg")
                            shares = shares + (share,)
                    for i in gl.static_range(AT_ONCE):
                        added = ()
                        for r in gl.static_range(R):
                            added = added + (sums[r] + shares[i * R + r],)
                        sums = added
                totals = sums
                gl.store(counter, 0)
        if ours:
            for r in gl.static_range(R):
                total = totals[r]
                first_row = gl.minimum(n_block * TILES, tiles - TILES) * 16 + (r * TEAMS + TEAM) * 64
                row = gl.arange(0, 64, gl.SliceLayout(1, mma))
                at = gl.minimum(first_row + row, N - 1)
                if GROUPS == 0:
                    halves = at // 16 * 16 + at % 8 * 2 + at % 16 // 8
                    total *= gl.load(scales_ptr + halves).to(gl.float32)[:, None]
                if HAS_BIAS:
                    total += gl.load(bias_ptr + at).to(gl.float32)[:, None]
                y = gl.convert_layout(total.to(DTYPE), stores)
                out_n = first_row + gl.arange(0, 64, gl.SliceLayout(1, stores))[:, None]
                out_m = m_tile * BM + gl.arange(0, BM, gl.SliceLayout(0, stores))[None, :]
                inside = (out_n >= n_block * 16 * TILES) & (out_n < N) & (out_m < M)
                gl.store(out_ptr + out_m.to(gl.int64) * N + out_n, y, mask=inside)
        unit += count
        step = step * 0
        n_block += (m_tile + 1 == m_tiles).to(gl.int32)
        m_tile = gl.where(m_tile + 1 == m_tiles, 0, m_tile + 1)


@gluon.jit(do_not_specialize=["M", "m_tiles", "blocks", "span"])
def ring_kernel(
    x_desc,  # reordered activations [K/64 * x_rows, 64], boxes [XJ, BM, 64]
    words_desc,  # lane order [tiles, lines, 128]: 4 a step, boxes [W, 4, 128]; 3 bits: 3, [W, 1, 128]
    scales_desc,  # [tiles, steps, 16 GROUPS], boxes [W, 1, 16 GROUPS]
    scales_ptr,
    bias_ptr,
    out_ptr,
    partial_ptr,  # float32, two slabs [TEAMS, R, 64, BM] a program
    arrived_ptr,  # int32 [blocks, TEAMS], zero between launches
    M,
    N,
    tiles,
    steps,
    m_tiles,
    blocks,
    span,  # steps of a program
    BITS: gl.constexpr,
    GROUPS: gl.constexpr,
    BM: gl.constexpr,
    TEAMS: gl.constexpr,
    R: gl.constexpr,
    STAGES: gl.constexpr,
    XJ: gl.constexpr,
    REGISTERS: gl.constexpr,
    FEED_REGISTERS: gl.constexpr,
    HAS_BIAS: gl.constexpr,
    UNPACK: gl.constexpr,
    SUMS: gl.constexpr,  # scales meet the sums of their groups; else the weights
    AT_ONCE: gl.constexpr,  # shares of a block that are on their way together
    DEPENDENT: gl.constexpr,
):
    DTYPE: gl.constexpr = out_ptr.dtype.element_ty
    W: gl.constexpr = 4 * TEAMS
    PARTS: gl.constexpr = (2 if BITS == 8 else 4) // XJ
    SLOTS: gl.constexpr = STAGES // PARTS
    ring = gl.allocate_shared_memory(DTYPE, [STAGES, XJ, BM, 64], gl.NVMMASharedLayout(128, 16, 3))
    COPIES: gl.constexpr = 3 if BITS == 3 else 1
    LINES: gl.constexpr = 1 if BITS == 3 else 4
    words = gl.allocate_shared_memory(
        gl.int32, [SLOTS * R * COPIES, W, LINES, 128], gl.NVMMASharedLayout(0, 32, 3)
    )
    GROUP_HALVES: gl.constexpr = 16 * GROUPS if GROUPS else 16
    scale_ring = gl.allocate_shared_memory(
        DTYPE, [SLOTS * R, W, 1, GROUP_HALVES], gl.NVMMASharedLayout(0, 16, 3)
    )
    ready = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    free = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        mbarrier.init(ready.index(stage), count=1)
        mbarrier.init(free.index(stage), count=TEAMS)
    begin = gl.program_id(0) * span
    end = gl.minimum(begin + span, blocks * steps)
    shared = (ring, words, scale_ring, ready, free)
    results = (scales_ptr, bias_ptr, out_ptr, partial_ptr, arrived_ptr)
    sizes = (begin, end, span, M, N, tiles, steps, m_tiles)
    # Gluon takes the parts of a program as they are written: no loop makes the list.
    if TEAMS == 1:
        gl.warp_specialize(
            [
                (
                    compute,
                    (
                        shared, results, sizes, GROUPS, R, TEAMS, 0, STAGES, PARTS, HAS_BIAS, UNPACK, SUMS,
                        AT_ONCE, DEPENDENT,
                    ),
                ),
                (
                    feed,
                    (
                        x_desc, words_desc, scales_desc, shared, sizes, GROUPS, R, TEAMS, STAGES, PARTS,
                        DEPENDENT,
                    ),
                ),
            ],
            [1],
            [FEED_REGISTERS],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (
                    compute,
                    (
                        shared, results, sizes, GROUPS, R, TEAMS, 0, STAGES, PARTS, HAS_BIAS, UNPACK, SUMS,
                        AT_ONCE, DEPENDENT,
                    ),
                ),
                (
                    compute,
                    (
                        shared, results, sizes, GROUPS, R, TEAMS, 1, STAGES, PARTS, HAS_BIAS, UNPACK, SUMS,
                        AT_ONCE, DEPENDENT,
                    ),
                ),
                (
                    feed,
                    (
                        x_desc, words_desc, scales_desc, shared, sizes, GROUPS, R, TEAMS, STAGES, PARTS,
                        DEPENDENT,
                    ),
                ),
            ],
            [4, 1],
            [REGISTERS, FEED_REGISTERS],
        )  # fmt: skip
