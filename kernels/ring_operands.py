# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="untyped-decorator, assignment"
# ruff: noqa: PLR0917, RUF005 — Gluon takes many arguments and no starred tuples
"""What a ring program takes out of its ring: words and scales into registers, both into the left operand."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from kernels.wide_operands import BLOCK_CONSTRAINTS


@gluon.jit
def team_of(boxes, number, TEAM: gl.constexpr):
    """What a team has of a box that came for all: its 4 tiles."""
    return boxes.index(number).slice(4 * TEAM, 4)


@gluon.jit
def words_of_slot(words, slot, TEAM: gl.constexpr, dot: gl.constexpr):
    """The words of a team's 4 tiles as two tensors in the operand's layout (see `words_in_registers`)."""
    LANES: gl.constexpr = [[0, 0, 1], [0, 0, 2], [0, 0, 4], [0, 0, 8], [0, 0, 16]]
    PAIRS: gl.constexpr = [[0, 0, 2], [0, 0, 4], [0, 0, 8], [0, 0, 16], [0, 0, 32]]
    QUADS: gl.constexpr = [[0, 0, 4], [0, 0, 8], [0, 0, 16], [0, 0, 32], [0, 0, 64]]
    WARPS: gl.constexpr = [[1, 0, 0], [2, 0, 0]]
    if words.shape[2] == 1:
        pairs: gl.constexpr = gl.DistributedLinearLayout(
            [[0, 0, 1], [0, 0, 64]], PAIRS, WARPS, [], [4, 1, 128]
        )
        w = gl.join(
            team_of(words, 3 * slot, TEAM).load(pairs), team_of(words, 3 * slot + 1, TEAM).load(pairs)
        )
        w = gl.permute(gl.reshape(w, (4, 2, 8, 4, 2, 2)), (0, 5, 2, 1, 3, 4))
        first = gl.reshape(w, (64, 16))
        singles: gl.constexpr = gl.DistributedLinearLayout(
            [[0, 0, 32], [0, 0, 64]], LANES, WARPS, [], [4, 1, 128]
        )
        v = team_of(words, 3 * slot + 2, TEAM).load(singles)
        v = gl.permute(gl.reshape(v, (4, 2, 2, 8, 4)), (0, 1, 3, 2, 4))
        second = gl.reshape(gl.join(v, v), (64, 16))
    else:
        quads: gl.constexpr = gl.DistributedLinearLayout(
            [[0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 2, 0]], QUADS, WARPS, [], [4, 4, 128]
        )
        w = gl.reshape(team_of(words, slot, TEAM).load(quads), (4, 2, 2, 8, 4, 2, 2))
        first, second = gl.split(gl.reshape(gl.permute(w, (0, 1, 3, 2, 4, 6, 5)), (64, 16, 2)))
    first = gl.convert_layout(first, dot, assert_trivial=True)
    second = gl.convert_layout(second, dot, assert_trivial=True)
    return first, second


@gluon.jit
def halves_of(pairs):
    """[N, S] as two of [N, S / 2]: what is even of S, what is odd."""
    return gl.split(gl.reshape(pairs, (pairs.shape[0], pairs.shape[1] // 2, 2)))


@gluon.jit
def scales_of_slot(scales, slot, TEAM: gl.constexpr, rows: gl.constexpr):
    """The scales of a team's 4 tiles in one step: for each group of columns [64] in the layout `rows`.

    A tile has them as [8 (row g), GROUPS, 2 (rows g and g + 8)]; the four lanes of a row read the same.
    """
    GROUPS: gl.constexpr = scales.shape[3] // 16
    BITS: gl.constexpr = [[0, 0, 2], [0, 0, 4], [0, 0, 8]]
    COUNT: gl.constexpr = 0 if GROUPS == 1 else 1 if GROUPS == 2 else 2 if GROUPS == 4 else 3
    ROWS: gl.constexpr = [[0, 0, 2 * GROUPS], [0, 0, 4 * GROUPS], [0, 0, 8 * GROUPS]]
    WARPS: gl.constexpr = [[1, 0, 0], [2, 0, 0]]
    own: gl.constexpr = gl.DistributedLinearLayout(
        [[0, 0, 1]] + BITS[:COUNT], [[0, 0, 0], [0, 0, 0]] + ROWS, WARPS, [], [4, 1, 16 * GROUPS]
    )
    s = gl.reshape(team_of(scales, slot, TEAM).load(own), (4, 8, GROUPS, 2))
    s = gl.reshape(gl.permute(s, (0, 3, 1, 2)), (64, GROUPS))
    if GROUPS == 1:
        found = (gl.reshape(s, (64,)),)
    elif GROUPS == 2:
        found = gl.split(s)
    elif GROUPS == 4:
        even, odd = halves_of(s)
        a, c = gl.split(even)
        b, d = gl.split(odd)
        found = (a, b, c, d)
    else:
        even, odd = halves_of(s)
        fours, twos = halves_of(even)
        fives, threes = halves_of(odd)
        a, e = gl.split(fours)
        c, g = gl.split(twos)
        b, f = gl.split(fives)
        d, h = gl.split(threes)
        found = (a, b, c, d, e, f, g, h)
    placed = ()
    for i in gl.static_range(GROUPS):
        placed = placed + (gl.convert_layout(found[i], rows, assert_trivial=True),)
    return placed


@gluon.jit
def block_operand(
    words,
    first,
    second,
    UNPACK: gl.constexpr,
    J: gl.constexpr,
    DTYPE: gl.constexpr,
    dot: gl.constexpr,
):
    """Block J of a step's weights [64, 64] as the matrix unit takes them, in registers.

    `first` and `second` [64, 1] are the scales of the left and the right half of its columns.
    """
    p0, p1, p2, p3 = gl.inline_asm_elementwise(
        UNPACK[J],
        BLOCK_CONSTRAINTS,
        [words[0], words[1], first, second],
        (gl.int16, gl.int16, gl.int16, gl.int16),
        True,
        8,
    )
    planes = gl.join(gl.join(p0, p2), gl.join(p1, p3))  # [64, 16, 2, 2], plane = 2 i + j
    rows = gl.reshape(gl.permute(planes, (0, 2, 3, 1)), (64, 64)).to(DTYPE, bitcast=True)
    return gl.convert_layout(rows, dot, assert_trivial=True)
