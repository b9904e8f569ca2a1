"""The comparison of tiles: those that are tried fit, the fastest is named, one clear line elsewhere."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.kernels.tiles import __main__ as tiles_command
from benchmarks.kernels.tiles.__main__ import report
from benchmarks.kernels.tiles.sweep import (
    CUBLAS,
    OURS,
    ROWS,
    Timed,
    compile_tile,
    decode_tiles,
    name_of,
    ring_tiles,
)
from kernels.gpu import TritonMatrix
from kernels.tiles import Gpu, choose_tile
from tests.kernels.cases import lanes_without_memory

HERE = Path(__file__).parent
SHARED_OF_ALL = 228 << 10  # bytes of a multiprocessor; each program costs RESERVED more than it asks for
RESERVED = 1 << 10
REGISTERS = 1 << 16
MOST_STACK = 64  # bytes a thread
MOST_BARRIERS = 9  # in a step of 256 columns, with 64 columns of x a stage

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@needs_triton
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", ROWS)
def test_every_number_of_rows_has_tiles(rows, bits):
    tiles = ring_tiles(rows, bits)
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
    monkeypatch.setattr(sys, "argv", ["tiles"])
    assert tiles_command.main() == 0
    assert "compute capability 9.0" in capsys.readouterr().out


def test_what_compiles_ahead_can_be_sent_to_other_processes():
    """A process that is spawned does not import a package's `__main__`."""
    assert compile_tile.__module__ == "benchmarks.kernels.tiles.sweep"
