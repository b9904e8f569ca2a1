# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The choice of tiles is a pure function with limits that hold for every shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.tiles import Gpu, choose_expert_tile, choose_tile, step_of, supports_group

BITS = st.sampled_from([8, 4, 3])
GROUPS = st.sampled_from([None, 16, 32, 64, 128, 256, 512])
SIZES = st.integers(1, 60_000)


@given(
    bits=BITS,
    group_size=GROUPS,
    m=st.integers(1, 300),
    n=SIZES,
    k=SIZES,
    capability=st.sampled_from([80, 89, 90, 100]),
)
def test_limits(bits, group_size, m, n, k, capability):
    gpu = Gpu(capability)
    tile = choose_tile(bits, group_size, m, n, k, gpu=gpu)
    assert tile == choose_tile(bits, group_size, m, n, k, gpu=gpu)
    assert tile.columns >= 16  # the matrix unit's depth
    assert tile.rows >= 16
    assert tile.outputs == 32 or capability < 100
    step = step_of(bits, tile.columns)
    if group_size is not None:  # a group is a whole number of steps, or a step a whole number of groups
        assert step % group_size == 0 or group_size % step == 0
    assert 1 <= tile.split <= 16
    if tile.split > 1:
        assert k >= step * tile.split
        assert tile.split * 8 * m <= k * bits / 8 / 4 + 8 * m  # float32 partial sums, written and read


@given(bits=BITS, group_size=GROUPS, rows=st.floats(0.01, 5000))
def test_experts_are_not_split(bits, group_size, rows):
    tile = choose_expert_tile(bits, group_size, rows, Gpu())
    assert tile.split == 1
    assert tile.rows == 16 or rows > 16


@pytest.mark.parametrize(
    ("group_size", "known"), [(None, True), (16, True), (256, True), (1024, True), (8, False), (48, False)]
)
def test_groups(group_size, known):
    assert supports_group(group_size) is known
