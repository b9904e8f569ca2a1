"""The ring kernel: right through an emulator, compiled for Hopper, and a tile for every shape."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.gpu import TritonMatrix
from kernels.ring_tiles import LARGEST_RING, choose_ring_tile, takes_few
from kernels.tiles import Gpu, row_bucket
from kernels.wide_tiles import SMALLEST_WIDE_OUTPUT
from tests.kernels.cases import lanes_without_memory
from tests.kernels.test_compile import compile_all
from tests.kernels.test_interpreter import why_no_interpreter

HERE = Path(__file__).parent
SHARED_OF_ALL = 228 << 10  # bytes of a multiprocessor; each program costs RESERVED more than it asks for
RESERVED = 1 << 10
BARRIERS = 256  # bytes, at most
REGISTERS = 1 << 16
MOST_STACK = 64  # bytes a thread
MOST_BARRIERS = 8  # in a step of 256 columns, with 64 columns of x a stage
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
    assert tile.programs * (tile.shared(bits) + RESERVED + BARRIERS) <= SHARED_OF_ALL
    assert tile.programs * (tile.warps + 4) * 32 * tile.registers <= REGISTERS
    assert tile.stage_blocks <= (2 if bits == 8 else 4)


def test_large_matrices_take_few_rows():
    assert not takes_few(4, 6144, 4096)
    assert takes_few(8, 6144, 4096)
    assert takes_few(4, 4096, 14336)


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
    assert matrix.is_wide(case["m"], case["dtype"]) is taken


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(why_no_interpreter()), reason=why_no_interpreter())
def test_products_through_an_emulator():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(HERE / "interpreter_ring_checks.py")], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@needs_triton
@pytest.mark.slow
def test_tiles_compile_for_hopper():
    """For each number of rows: it fits, nothing spills, matrix instructions don't wait for each other."""
    schemes = (
        (4, 128, "float16"),
        (4, 64, "bfloat16"),
        (8, None, "float16"),
        (4, 32, "float16"),
        (8, 128, "bfloat16"),
        (3, 64, "float16"),
    )
    tiles = list(dict.fromkeys(choose_ring_tile(4, *shape) for shape in SHAPES))
    cases = [
        {"tile": asdict(tile.of_bits(bits)), "bits": bits, "group_size": group, "dtype": dtype}
        for number, tile in enumerate(tiles)
        for bits, group, dtype in (schemes[number % 2], schemes[2 + number % 4])
    ]
    for case, report_of_case in compile_all(cases, HERE / "compile_ring.py"):
        tile = case["tile"]
        calls = tile["row_tiles"] * (2 if case["bits"] == 8 else 4)
        assert report_of_case["multiplications"] == 4 * calls, case
        # More where the compiler makes them wait for each other.
        assert report_of_case["starts"] == calls, case
        assert report_of_case["local"] == 0 and report_of_case["stack"] <= MOST_STACK, case
        assert report_of_case["barriers"] <= MOST_BARRIERS and report_of_case["fences"] <= 1, case
        assert tile["programs"] * (report_of_case["shared"] + RESERVED) <= SHARED_OF_ALL, case
        assert tile["programs"] * (tile["warps"] + 4) * 32 * report_of_case["registers"] <= REGISTERS, case
