# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="untyped-decorator"
# ruff: noqa: PLR0917 — Gluon takes many arguments
"""The warp of a ring program that brings what the others compute with: weights and activations, in step
order.

A stage of the ring holds `XJ` blocks of 64 columns of x; the words and scales of a step lie in the slot of
its first stage and count their bytes at that stage's barrier. `ready` says that a stage is there, `free` that
every team is done with it.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma


@gluon.jit
def wait_for_previous(number):
    """`number`, once the kernel before is through; the one behind may start (dependent launch)."""
    return number + gl.inline_asm_elementwise(
        "griddepcontrol.launch_dependents; griddepcontrol.wait; mov.b32 $0, 0;",
        "=r,r",
        [number],
        gl.int32,
        False,
        1,
    )


@gluon.jit
def next_step(n_block, m_tile, step, steps, m_tiles):
    """The step after this one on the line of all: of this block, or the first one of the next."""
    step += 1
    over = step == steps
    last = over & (m_tile + 1 == m_tiles)
    n_block = gl.where(last, n_block + 1, n_block)
    m_tile = gl.where(over, gl.where(last, 0, m_tile + 1), m_tile)
    return n_block, m_tile, gl.where(over, 0, step)


@gluon.jit
def fetch_weights(
    words_desc, scales_desc, words, scale_ring, ready, slot, n_block, step, tiles, wanted,
    GROUPS: gl.constexpr, R: gl.constexpr, W: gl.constexpr,
):  # fmt: skip
    """Start the copies of one step's words and scales of R · W tiles into a slot."""
    first = gl.minimum(n_block * (R * W), tiles - R * W)
    COPIES: gl.constexpr = 3 if words.shape[2] == 1 else 1
    LINES: gl.constexpr = words.shape[2] * COPIES
    for r in gl.static_range(R):
        for i in gl.static_range(COPIES):
            start = [first + r * W, step * LINES + i, 0]
            place = words.index((slot * R + r) * COPIES + i)
            tma.async_copy_global_to_shared(words_desc, start, ready, place, pred=wanted)
        if GROUPS:
            start = [first + r * W, step, 0]
            place = scale_ring.index(slot * R + r)
            tma.async_copy_global_to_shared(scales_desc, start, ready, place, pred=wanted)


@gluon.jit
def feed(
    x_desc,
    words_desc,
    scales_desc,
    shared,
    sizes,
    GROUPS: gl.constexpr,
    R: gl.constexpr,
    TEAMS: gl.constexpr,
    STAGES: gl.constexpr,
    PARTS: gl.constexpr,  # stages of a step
    DEPENDENT: gl.constexpr,
):
    """Copy the steps from `begin` to `end` into the ring, each as soon as its stages are free."""
    ring, words, scale_ring, ready, free = shared
    begin, end, _, _, _, tiles, steps, m_tiles = sizes
    W: gl.constexpr = 4 * TEAMS
    SLOTS: gl.constexpr = STAGES // PARTS
    BYTES: gl.constexpr = (512 * (3 if words.shape[2] == 1 else 4) + 32 * GROUPS) * R * W  # of weights
    XJ: gl.constexpr = ring.shape[1]
    BM: gl.constexpr = ring.shape[2]
    X_BYTES: gl.constexpr = 128 * BM * XJ
    block = begin // steps
    # The first weights don't wait for the kernel that writes x.
    n_block = block // m_tiles
    m_tile = block % m_tiles
    step = begin % steps
    for slot in gl.static_range(SLOTS):
        wanted = begin + slot < end
        stage = ready.index(slot * PARTS)
        mbarrier.expect(stage, BYTES + X_BYTES, pred=wanted)
        fetch_weights(
            words_desc, scales_desc, words, scale_ring, stage, slot, n_block, step, tiles, wanted, GROUPS,
            R, W,
        )  # fmt: skip
        n_block, m_tile, step = next_step(n_block, m_tile, step, steps, m_tiles)

    m_tile = block % m_tiles
    n_block = block // m_tiles
    step = begin % steps
    if DEPENDENT:
        step = wait_for_previous(step)
    for slot in gl.static_range(SLOTS):
        wanted = begin + slot < end
        for part in gl.static_range(PARTS):
            stage = slot * PARTS + part
            if part > 0:
                mbarrier.expect(ready.index(stage), X_BYTES, pred=wanted)
            tma.async_copy_global_to_shared(
                x_desc,
                [step * (PARTS * XJ) + part * XJ, m_tile * BM, 0],
                ready.index(stage),
                ring.index(stage),
                pred=wanted,
            )
        n_block, m_tile, step = next_step(n_block, m_tile, step, steps, m_tiles)

    slot = begin * 0
    phase = begin * 0
    for _unit in range(begin + SLOTS, end):
        for part in gl.static_range(PARTS):
            stage = slot * PARTS + part
            mbarrier.wait(free.index(stage), phase)
            if part == 0:
                mbarrier.expect(ready.index(stage), BYTES + X_BYTES)
                fetch_weights(
                    words_desc, scales_desc, words, scale_ring, ready.index(stage), slot, n_block, step,
                    tiles, True, GROUPS, R, W,
                )  # fmt: skip
            else:
                mbarrier.expect(ready.index(stage), X_BYTES)
            tma.async_copy_global_to_shared(
                x_desc,
                [step * (PARTS * XJ) + part * XJ, m_tile * BM, 0],
                ready.index(stage),
                ring.index(stage),
            )
        n_block, m_tile, step = next_step(n_block, m_tile, step, steps, m_tiles)
        phase = gl.where(slot + 1 == SLOTS, phase ^ 1, phase)
        slot = gl.where(slot + 1 == SLOTS, 0, slot + 1)
