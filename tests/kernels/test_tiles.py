# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The choice of tiles is a pure function with limits that hold for every shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.tiles import LARGEST_FUSED, Gpu, choose_tile, row_bucket, supports_group

SIZES = st.integers(1, 60_000)


@given(
    bits=st.sampled_from([8, 4, 3]),
    group_size=st.sampled_from([None, 16, 48, 64, 128, 256, 512]),
    m=st.integers(1, LARGEST_FUSED),
    n=SIZES,
    k=SIZES,
    paired=st.booleans(),
    capability=st.sampled_from([80, 89, 90, 100]),
)
def test_limits(bits, group_size, m, n, k, paired, capability):
    gpu = Gpu(capability)
    tile = choose_tile(bits, group_size, m, n, k, gpu=gpu, paired=paired)
    assert tile == choose_tile(bits, group_size, row_bucket(m), n, k, gpu=gpu, paired=paired)
    assert 8 * tile.n_tiles >= m
    assert tile.n_tiles in (1, 2, 4)
    assert tile.row_tiles == 2 if paired else tile.row_tiles in (1, 2)
    assert tile.warps in (1, 2, 4, 8, 16)
    assert tile.warps == 1 or tile.warps * (128 if bits == 8 else 256) < 2 * k  # no warp is idle throughout
    assert tile.depth in (1, 2)
    assert tile.programs in (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("n", "k", "measured"),
    [
        (6144, 4096, (4, 2, 0, 1, False)),
        (4096, 4096, (8, 1, 2, 2, False)),
        (28672, 4096, (4, 1, 4, 2, True)),
        (4096, 14336, (8, 1, 2, 2, False)),
        (10240, 8192, (4, 1, 4, 2, True)),
        (8192, 28672, (8, 1, 2, 2, False)),
        (21504, 7168, (4, 1, 4, 2, True)),
        (7168, 7168, (4, 1, 4, 1, False)),
        (7168, 28672, (8, 1, 2, 2, True)),
        (9216, 9216, (4, 1, 4, 2, True)),
        (9216, 36864, (8, 1, 2, 2, True)),
        (12288, 49152, (8, 1, 2, 2, True)),
    ],
)
def test_what_was_measured_best_on_an_h200(n, k, measured):
    tile = choose_tile(4, 64, 1, n, k, gpu=Gpu(90, 132))
    assert (tile.warps, tile.depth, tile.programs, tile.unroll, tile.stream) == measured


@pytest.mark.parametrize(("m", "bucket"), [(1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (64, 64), (65, 128)])
def test_row_buckets(m, bucket):
    assert row_bucket(m) == bucket


@pytest.mark.parametrize(
    ("group_size", "known"), [(None, True), (16, True), (48, True), (1024, True), (8, False), (40, False)]
)
def test_groups(group_size, known):
    assert supports_group(group_size) is known
