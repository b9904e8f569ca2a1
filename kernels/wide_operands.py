# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="untyped-decorator, assignment"
# ruff: noqa: PLR0917, RUF005 — Gluon takes many arguments and no starred tuples
"""Device functions of the wide kernel: from global memory to both operands of the matrix unit.

The packed words go through a ring in shared memory as they lie (lane order, 16 bytes a lane and slot), from
there into registers, where they are unpacked into the left operand. The activations go through a ring of
blocks of 64 columns, from which the matrix unit reads them.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy

# Registers of an asm block on a fragment: `pack=8` hands over the 8 elements that a lane holds of [16 W, 16].
EIGHT_OUT = "=&r,=&r,=&r,=&r,=&r,=&r,=&r,=&r"
EIGHT_IN = ",r,r,r,r,r,r,r,r"
SCALES_CONSTRAINTS = gl.constexpr(EIGHT_OUT + ",l,l,l,l,l,l,l,l" + EIGHT_IN)
BLOCK_CONSTRAINTS = gl.constexpr(EIGHT_OUT + "," + EIGHT_OUT + EIGHT_IN + EIGHT_IN + EIGHT_IN)


@gluon.jit
def copy_x(x_place, ring, stage, m_tile, block, x_rows, BM: gl.constexpr, XJ: gl.constexpr):
    """Start copying XJ blocks of 64 columns of one tile of rows into a stage of the ring."""
    start = x_place + (block.to(gl.int64) * x_rows + m_tile * BM) * 64
    for j in gl.static_range(XJ):
        async_copy.async_copy_global_to_shared(ring.index(stage * XJ + j), start + j * x_rows * 64)


@gluon.jit
def step_of_stack(n_block, step, expert, tiles, steps, TILES: gl.constexpr):
    """Steps of the whole stack that lie before this one of an expert's block of outputs."""
    tile = gl.minimum(n_block * TILES, tiles - TILES).to(gl.int64)
    tile += expert.to(gl.int64) * tiles
    return tile * steps + step


@gluon.jit
def routed_place(expert_ptr, block, blocks, m_tiles):
    """(tile of rows, block of outputs, expert) of a block of all; past the last some that can be read."""
    m_tile = gl.minimum(block // blocks, m_tiles - 1)
    return m_tile, block % blocks, gl.load(expert_ptr + m_tile)


@gluon.jit
def words_of_tiles(
    words_ptr,
    steps,
    STEP_WORDS: gl.constexpr,
    FIRST: gl.constexpr,
    COUNT: gl.constexpr,
    TILES: gl.constexpr,
    W: gl.constexpr,
):
    """Pointers [TILES, COUNT / 4, 4] to COUNT words of step 0 of each tile of a program, from word FIRST."""
    layout: gl.constexpr = gl.BlockedLayout([1, 1, 4], [1, 32, 1], [W, 1, 1], [2, 1, 0])
    tile = gl.arange(0, TILES, gl.SliceLayout(1, gl.SliceLayout(2, layout)))[:, None, None]
    chunk = gl.arange(0, COUNT // 4, gl.SliceLayout(0, gl.SliceLayout(2, layout)))[None, :, None]
    word = gl.arange(0, 4, gl.SliceLayout(0, gl.SliceLayout(1, layout)))[None, None, :]
    return words_ptr + (tile * (steps * STEP_WORDS) + (chunk * 4 + FIRST) + word)


@gluon.jit
def copy_words(places, rings, slot, offset, BITS: gl.constexpr):
    """Start copying the words of one step, `offset` words from those that `places` point to."""
    async_copy.async_copy_global_to_shared(rings[0].index(slot), places[0] + offset)
    if BITS == 3:
        async_copy.async_copy_global_to_shared(rings[1].index(slot), places[1] + offset)


@gluon.jit
def words_in_registers(
    rings, slot, r: gl.constexpr, R: gl.constexpr, BITS: gl.constexpr, W: gl.constexpr, dot: gl.constexpr
):
    """The words of W tiles as two tensors in the operand's layout: words 0 and 1 of its registers, 2 and 3.

    [W, slot (r8, h), lane (g, t), word (j1, j0)] → rows (w, r8, g), columns (h, t, j0) of tensor j1.
    """
    WARPS: gl.constexpr = (
        [[1, 0, 0, 0], [2, 0, 0, 0]] if W == 4 else [[1, 0, 0, 0], [2, 0, 0, 0], [4, 0, 0, 0]]
    )
    WARPS_3: gl.constexpr = [[1, 0, 0], [2, 0, 0]] if W == 4 else [[1, 0, 0], [2, 0, 0], [4, 0, 0]]
    LANES: gl.constexpr = [[0, 0, 1, 0], [0, 0, 2, 0], [0, 0, 4, 0], [0, 0, 8, 0], [0, 0, 16, 0]]
    if BITS == 3:
        pairs: gl.constexpr = gl.DistributedLinearLayout(
            [[0, 0, 0, 1], [0, 1, 0, 0], [0, 2, 0, 0]], LANES, WARPS, [], [W, 4, 32, 2]
        )
        w = rings[0].index(slot).reshape([R * W, 4, 32, 2]).slice(r * W, W).load(pairs)
        w = gl.permute(gl.reshape(w, (W, 2, 2, 8, 4, 2)), (0, 1, 3, 2, 4, 5))
        first = gl.convert_layout(gl.reshape(w, (16 * W, 16)), dot, assert_trivial=True)
        third: gl.constexpr = gl.DistributedLinearLayout(
            [[0, 1, 0], [0, 2, 0]],
            [[0, 0, 1], [0, 0, 2], [0, 0, 4], [0, 0, 8], [0, 0, 16]],
            WARPS_3,
            [],
            [W, 4, 32],
        )
        v = rings[1].index(slot).reshape([R * W, 4, 32]).slice(r * W, W).load(third)
        v = gl.permute(gl.reshape(v, (W, 2, 2, 8, 4)), (0, 1, 3, 2, 4))
        v = gl.join(v, v)
        second = gl.convert_layout(gl.reshape(v, (16 * W, 16)), dot, assert_trivial=True)
    else:
        quads: gl.constexpr = gl.DistributedLinearLayout(
            [[0, 0, 0, 1], [0, 0, 0, 2], [0, 1, 0, 0], [0, 2, 0, 0]], LANES, WARPS, [], [W, 4, 32, 4]
        )
        w = rings[0].index(slot).reshape([R * W, 4, 32, 4]).slice(r * W, W).load(quads)
        w = gl.permute(gl.reshape(w, (W, 2, 2, 8, 4, 2, 2)), (0, 1, 3, 2, 4, 6, 5))
        first, second = gl.split(gl.reshape(w, (16 * W, 16, 2)))
        first = gl.convert_layout(first, dot, assert_trivial=True)
        second = gl.convert_layout(second, dot, assert_trivial=True)
    return first, second


@gluon.jit
def load_scales(scales, off, LOAD: gl.constexpr, R: gl.constexpr, tile_bytes):
    """The scale words of one step, R tensors of 8 registers a lane."""
    words = ()
    for r in gl.static_range(R):
        words = words + (
            gl.inline_asm_elementwise(
                LOAD, SCALES_CONSTRAINTS, [scales, off + r * tile_bytes], gl.int32, True, 8
            ),
        )
    return words


@gluon.jit
def left_operand(
    words,
    scales,
    UNPACK: gl.constexpr,
    J: gl.constexpr,
    DTYPE: gl.constexpr,
    W: gl.constexpr,
    dot: gl.constexpr,
):
    """[16 W, 64] of the step's words as the matrix unit takes it, in registers."""
    p0, p1, p2, p3 = gl.inline_asm_elementwise(
        UNPACK[J],
        BLOCK_CONSTRAINTS,
        [words[0], words[1], scales],
        (gl.int16, gl.int16, gl.int16, gl.int16),
        True,
        8,
    )
    planes = gl.join(gl.join(p0, p2), gl.join(p1, p3))  # [16 W, 16, 2, 2], plane = 2 i + j
    rows = gl.reshape(gl.permute(planes, (0, 2, 3, 1)), (16 * W, 64)).to(DTYPE, bitcast=True)
    return gl.convert_layout(rows, dot, assert_trivial=True)
