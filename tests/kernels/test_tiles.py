# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The choice of tiles is a pure function with limits that hold for every shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.tiles import (
    Gpu,
    choose_expert_tile,
    choose_tile,
    fused_rows,
    row_bucket,
    step_of,
    supports_group,
)

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
    assert tile == choose_tile(bits, group_size, row_bucket(m), n, k, gpu=gpu)  # one tile a bucket
    assert tile.columns >= 16  # the matrix unit's depth
    assert tile.rows >= min(m, 32)
    assert tile.rows in (8, 16, 32, 64)
    assert tile.outputs == 32 or capability < 100
    step = step_of(bits, tile.columns)
    if group_size is not None:  # a group is a whole number of steps, or a step a whole number of groups
        assert step % group_size == 0 or group_size % step == 0
    assert tile.split in (1, 2, 4, 8)
    if tile.split > 1:
        assert k >= step * tile.split
        assert tile.split * 8 * m <= k * bits / 8  # float32 partial sums, written and read


@pytest.mark.parametrize(
    ("bits", "group_size", "m", "n", "k", "measured"),
    [
        (4, 64, 1, 6144, 4096, (8, 64, 16, 8, 4, 3)),
        (4, 64, 1, 28672, 4096, (8, 64, 16, 2, 4, 3)),
        (4, 64, 1, 4096, 14336, (8, 64, 16, 8, 4, 3)),
        (4, 64, 16, 28672, 4096, (16, 64, 16, 2, 2, 4)),
        (4, 64, 16, 4096, 4096, (16, 64, 16, 8, 2, 4)),
        (4, 64, 64, 6144, 4096, (64, 64, 16, 4, 4, 3)),
        (8, None, 1, 6144, 4096, (8, 64, 64, 4, 4, 4)),
        (8, None, 16, 28672, 4096, (16, 64, 64, 1, 4, 4)),
        (8, None, 16, 4096, 14336, (16, 64, 64, 4, 4, 4)),
        (3, 64, 1, 4096, 4096, (8, 64, 16, 4, 4, 2)),
        (3, 64, 16, 28672, 4096, (16, 64, 16, 1, 4, 2)),
    ],
)
def test_what_was_measured_best_on_an_h200(bits, group_size, m, n, k, measured):
    tile = choose_tile(bits, group_size, m, n, k, gpu=Gpu(90, 132))
    assert (tile.rows, tile.outputs, tile.columns, tile.split, tile.warps, tile.stages) == measured


@pytest.mark.parametrize(("m", "bucket"), [(1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (64, 64), (65, 128)])
def test_row_buckets(m, bucket):
    assert row_bucket(m) == bucket


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_a_bucket_is_fused_whole_or_not_at_all(bits):
    assert row_bucket(fused_rows(bits)) == fused_rows(bits)


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
