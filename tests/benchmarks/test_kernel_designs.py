"""The design beside the kernels: right through an emulator, compiled for Hopper, one clear line elsewhere."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks.kernels.designs import __main__ as designs
from benchmarks.kernels.designs.__main__ import report
from benchmarks.kernels.designs.sweep import (
    CUBLAS,
    OURS,
    Timed,
    compile_tile,
    decode_tiles,
    name_of,
    ring_tiles,
)
from kernels.gpu import TritonMatrix
from kernels.tiles import Gpu, choose_tile
from tests.kernels.cases import lanes_without_memory
from tests.kernels.test_compile import compile_all
from tests.kernels.test_interpreter import why_no_interpreter

HERE = Path(__file__).parent
SHARED_OF_ALL = 228 << 10  # bytes of a multiprocessor; each program costs RESERVED more than it asks for
RESERVED = 1 << 10
REGISTERS = 1 << 16
MOST_STACK = 64  # bytes a thread
MOST_BARRIERS = 9  # in a step of 256 columns, with 64 columns of x a stage

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


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
    tiles = [ring_tiles(rows)[-1] for rows in (16, 64, 128, 256)] + [ring_tiles(16)[0], ring_tiles(32)[-2]]
    schemes = ((4, 128, "float16"), (4, 64, "bfloat16"), (8, None, "float16"))
    cases = [
        {"tile": asdict(tile), "bits": bits, "group_size": group, "dtype": dtype}
        for number, tile in enumerate(tiles)
        for bits, group, dtype in [schemes[number % (3 if tile.stage_blocks < 4 else 2)]]
    ]
    for case, report_of_case in compile_all(cases, HERE / "compile_ring.py"):
        tile = case["tile"]
        calls = tile["row_tiles"] * (2 if case["bits"] == 8 else 4)
        assert report_of_case["multiplications"] == 4 * calls, case
        assert report_of_case["starts"] == calls, (
            case
        )  # more where the compiler makes them wait for each other
        assert report_of_case["local"] == 0 and report_of_case["stack"] <= MOST_STACK, case
        assert report_of_case["barriers"] <= MOST_BARRIERS and report_of_case["fences"] <= 1, case
        assert tile["programs"] * (report_of_case["shared"] + RESERVED) <= SHARED_OF_ALL, case
        assert tile["programs"] * tile["warps"] * 32 * report_of_case["registers"] <= REGISTERS, case


@needs_triton
@pytest.mark.parametrize("rows", designs.ROWS)
def test_every_number_of_rows_has_tiles(rows):
    tiles = ring_tiles(rows)
    assert len({name_of(tile) for tile in tiles}) == len(tiles) >= 2
    for tile in tiles:
        assert tile.rows >= min(rows, 256) / 2
        assert tile.programs * (tile.shared + RESERVED) <= SHARED_OF_ALL
        assert tile.programs * tile.warps * 32 * tile.registers <= REGISTERS


@needs_triton
def test_other_tiles_of_the_decode_kernel():
    matrix = TritonMatrix(lanes_without_memory(4, 128, 4096, 4096, torch.float16), Gpu())
    tiles = decode_tiles(matrix, 16)
    chosen = choose_tile(4, 128, 16, 4096, 4096, gpu=Gpu())
    assert chosen not in tiles
    assert len(tiles) >= 4
    assert {tile.n_tiles for tile in tiles} == {chosen.n_tiles}


def test_the_fastest_tile_is_named():
    found = [
        Timed("L o", "int4-128", 16, CUBLAS, 12.0),
        Timed("L o", "int4-128", 16, OURS, 6.0),
        Timed("L o", "int4-128", 16, "slow", 5.0),
        Timed("L o", "int4-128", 16, "fast", 4.0),
        Timed("L o", "int4-128", 16, "broken", None, "RuntimeError: no room"),
    ]
    _, line, _, _, failed = report(found).splitlines()
    assert line.split() == ["L", "o", "int4-128", "16", "12.0", "6.0", "4.0", "2.00", "3.00", "fast"]
    assert failed == "broken: RuntimeError: no room"


def test_without_such_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["designs"])
    assert designs.main() == 0
    assert "compute capability 9.0" in capsys.readouterr().out


def test_what_compiles_ahead_can_be_sent_to_other_processes():
    """A process that is spawned does not import a package's `__main__`."""
    assert compile_tile.__module__ == "benchmarks.kernels.designs.sweep"
