# ruff: noqa: PLR0917 — a case has as many parts as it has
"""Numerics of the Triton kernels through Triton's interpreter. Run by `test_interpreter.py`.

Not collected with the other tests: the interpreter is chosen when Triton is imported, for the whole process.
"""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.experts import tile_rows
from kernels.reorder import reorder_kernel
from kernels.tiles import Gpu, Tile
from tests.kernels.cases import random_rows
from tests.kernels.numerics import (
    GROUPS,
    Extras,
    check_every_weight,
    check_experts,
    check_fed_norm,
    check_matmul,
)

BITS = st.sampled_from([8, 4, 3])
DTYPES = st.sampled_from([torch.float16, torch.bfloat16])
TINY = Gpu(90, 1)  # so few multiprocessors that a program meets several blocks
TILES = st.sampled_from(
    [
        None,
        Tile(1, 1, 1, 1, 0),
        Tile(1, 1, 2, 2, 0),
        Tile(1, 1, 2, 2, 1, 2),
        Tile(1, 2, 4, 1, 1),
        Tile(2, 2, 1, 1, 2),
        Tile(1, 1, 1, 1, 2, stream=True),
        Tile(1, 2, 2, 2, 1, 2, stream=True),
    ]
)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    bits=BITS, group_size=st.sampled_from(GROUPS), dtype=DTYPES, scale_dtype=DTYPES, m=st.integers(1, 8),
    n=st.integers(1, 36), groups=st.integers(1, 3), k=st.integers(1, 600), tile=TILES, bias=st.booleans(),
    residual=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_matmul(bits, group_size, dtype, scale_dtype, m, n, groups, k, tile, bias, residual, seed):
    k = k if group_size is None else groups * group_size
    check_matmul(
        bits, group_size, dtype, m, n, k, scale_dtype=scale_dtype, extras=Extras(bias, residual), tile=tile,
        gpu=TINY, seed=seed,
    )  # fmt: skip


@settings(deadline=None, max_examples=4, derandomize=True)
@given(
    bits=BITS, dtype=DTYPES, m=st.integers(1, 10), half=st.sampled_from([16, 32]),
    activation=st.sampled_from(["silu", "gelu", "gelu_tanh", "relu"]), bias=st.booleans(),
    residual=st.booleans(), norm=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_gate_and_up(bits, dtype, m, half, activation, bias, residual, norm, seed):
    extras = Extras(bias, residual, activation, norm)
    check_matmul(bits, 64, dtype, m, 2 * half, 320, extras=extras, gpu=TINY, seed=seed)


@settings(deadline=None, max_examples=4, derandomize=True)
@given(
    bits=BITS, group_size=st.sampled_from([None, 16]), dtype=DTYPES, m=st.integers(1, 10),
    k=st.sampled_from([16, 272, 784]), seed=st.integers(0, 99),
)  # fmt: skip
def test_norm(bits, group_size, dtype, m, k, seed):
    check_matmul(bits, group_size, dtype, m, 20, k, extras=Extras(norm=True), gpu=TINY, seed=seed)


@pytest.mark.parametrize(("bits", "m"), [(8, 3), (4, 1), (4, 11), (3, 8)])
def test_a_norm_whose_factor_comes_last(bits, m):
    check_matmul(bits, 64, torch.bfloat16, m, 36, 512, extras=Extras(bias=m > 1, norm=True), gpu=TINY)


@pytest.mark.parametrize(
    ("first", "second", "m", "n", "options"),
    [
        ((4, 64), (4, 64), 1, 256, {}),
        ((4, None), (3, 16), 7, 272, {"residual": False}),
        ((8, None), (4, 128), 12, 512, {"activation": "silu"}),
        ((3, 32), (8, 32), 2, 96, {}),
    ],
)
def test_a_norm_that_is_fed(first, second, m, n, options):
    check_fed_norm(first, second, m, n, gpu=TINY, **options)


@pytest.mark.parametrize("m", [9, 25])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_more_rows(bits, m):
    check_matmul(bits, 64, torch.float16, m, 24, 320, extras=Extras(bias=True))


@pytest.mark.parametrize(
    ("group_size", "dtype"), [(None, torch.float16), (16, torch.bfloat16), (128, torch.float16)]
)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_every_weight(bits, group_size, dtype):
    check_every_weight(bits, group_size, dtype, k=128 if group_size == 128 else 144)


@settings(deadline=None, max_examples=6, derandomize=True)
@given(
    bits=BITS, group_size=st.sampled_from([None, 16, 64]), dtype=DTYPES, n=st.integers(16, 40),
    expert=st.lists(st.integers(0, 6), min_size=1, max_size=14), sort=st.booleans(),
    tile=st.sampled_from([Tile(1, 1, 1, 1, 0), Tile(1, 1, 2, 2, 0), Tile(1, 2, 1, 1, 0)]),
    activation=st.sampled_from([None, "silu"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_experts(bits, group_size, dtype, n, expert, sort, tile, activation, seed):
    """Five experts; ids 5 and 6 stand for none."""
    n = 64 if activation else n
    check_experts(
        bits, group_size, dtype, expert, 5, n, 192, sort=sort, tile=tile, activation=activation,
        share=2 - len(expert) % 2, seed=seed,
    )  # fmt: skip


@settings(deadline=None, max_examples=25, derandomize=True)
@given(expert=st.lists(st.integers(0, 9), min_size=1, max_size=300), rows=st.sampled_from([8, 16, 32]))
def test_sorted_tiles(expert, rows):
    """Seven experts, and ids 7 to 9 for none: every row once, in order, and no tile mixes experts."""
    ids = torch.tensor(expert)
    table = tile_rows(ids, 7, rows)
    assert torch.equal(table.order.long(), torch.sort(ids.clamp(max=7), stable=True).indices)
    tiles = [
        (number, table.order[start:end])
        for number, start, end in zip(table.expert.tolist(), table.start, table.end, strict=True)
        if number <= 7
    ]
    assert torch.equal(torch.cat([order for _, order in tiles]), table.order)
    assert all(1 <= len(order) <= rows for _, order in tiles)
    assert all((ids.clamp(max=7)[order] == number).all() for number, order in tiles)
    assert len(tiles) == sum(-(-expert.count(e) // rows) for e in range(7)) + -(
        -sum(e > 6 for e in expert) // rows
    )


@pytest.mark.parametrize("sort", [False, True])
def test_an_expert_with_many_rows(sort):
    check_experts(4, 64, torch.bfloat16, [1] * 19 + [0] * 3 + [2], 4, 16, 128, sort=sort)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pair", [1, 2])
def test_reordered_activations(pair, dtype):
    """Column 8 h + 2 t + e of plane p holds the k that lane order names; beyond x there are zeros."""
    m, k, x_rows, step = 13, 200, 32, 256
    wide = random_rows((m, k + 9), dtype)
    x = wide[:, :k]  # rows that do not follow each other without a gap
    out = torch.full((step // 64, x_rows, 64), torch.nan, dtype=dtype)
    grid = (step // 64, x_rows // 16, 1)
    reorder_kernel[grid](x, out, m, k, x_rows, x.stride(0), ROWS=16, PAIR=pair, DEPENDENT=False)
    padded = torch.zeros((x_rows, step), dtype=dtype)
    padded[:m, :k] = x
    planes = out.view(step // 64, x_rows, 4, 16).permute(0, 2, 1, 3).flatten(0, 1)
    for plane in range(step // 16):
        for h, t, e in itertools.product(range(2), range(4), range(2)):
            column = 16 * pair * (plane // pair) + 4 * pair * t + 4 * (plane % pair) + 2 * h + e
            assert torch.equal(planes[plane, :, 8 * h + 2 * t + e], padded[:, column])
