"""The ring kernel: a tile for every shape, which compiles for Hopper, and what it takes."""

import importlib.util

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.gpu import TritonMatrix
from kernels.ring_tiles import LARGEST_RING, choose_ring_tile, takes_few
from kernels.tiles import Gpu, row_bucket
from kernels.wide_tiles import SMALLEST_WIDE_OUTPUT
from tests.kernels.cases import lanes_without_memory
from tests.kernels.ring_limits import check_compiled, check_room

SHAPES = [
    (m, n, k) for m in (16, 32, 64, 128, 256, 2048) for n, k in ((4096, 4096), (7168, 28672), (49152, 12288))
]

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@given(
    bits=st.sampled_from([3, 4, 8]),
    m=st.integers(9, LARGEST_RING),
    n=st.integers(256, 60_000),
    k=st.integers(64, 60_000),
)
def test_every_shape_has_a_tile_that_fits(bits, m, n, k):
    tile = choose_ring_tile(bits, m, n, k)
    assert tile == choose_ring_tile(bits, row_bucket(m), n, k)
    assert tile.outputs <= SMALLEST_WIDE_OUTPUT
    assert tile.rows <= max(16, row_bucket(m))
    check_room(tile, bits)


def test_large_matrices_take_few_rows():
    assert not takes_few(4, 6144, 4096, more=False)
    assert takes_few(8, 6144, 4096, more=False)
    assert takes_few(4, 4096, 14336, more=False)
    assert not takes_few(4, 28672, 4096, more=True)
    assert takes_few(4, 21504, 7168, more=True)


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({}, True),
        ({"capability": 80}, False),
        ({"capability": 100}, False),  # other matrix units
        ({"group_size": 48}, False),  # lane order without pairs
        ({"group_size": None}, True),
        ({"n": SMALLEST_WIDE_OUTPUT - 1}, False),
        ({"m": LARGEST_RING + 1}, False),
        ({"dtype": torch.bfloat16}, False),  # not that of the scales
    ],
)
def test_what_the_ring_kernel_takes(changed, taken):
    case = {"capability": 90, "group_size": 64, "n": 4096, "m": 100, "dtype": torch.float16} | changed
    lanes = lanes_without_memory(4, case["group_size"], case["n"], 768)
    matrix = TritonMatrix(lanes, Gpu(case["capability"]))
    assert matrix.takes_ring(case["m"], case["dtype"]) is taken


@needs_triton
@pytest.mark.slow
def test_tiles_compile_for_hopper():
    check_compiled(dict.fromkeys(choose_ring_tile(4, *shape) for shape in SHAPES))
