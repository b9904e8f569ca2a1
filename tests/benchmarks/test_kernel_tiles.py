"""The comparison of tiles: those that are tried fit, the fastest is named, one clear line elsewhere."""

import importlib.util
import sys

import pytest
import torch

from benchmarks.kernels.layers import SCHEMES
from benchmarks.kernels.tiles import __main__ as tiles_command
from benchmarks.kernels.tiles import fused
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
from tests.kernels.ring_limits import check_compiled, check_room

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@needs_triton
@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("rows", ROWS)
def test_every_number_of_rows_has_tiles(rows, bits):
    tiles = ring_tiles(rows, bits)
    assert len({name_of(tile) for tile in tiles}) == len(tiles) >= 2
    for tile in tiles:
        assert rows / 2 <= tile.rows <= max(8, rows)
        check_room(tile, bits)


@needs_triton
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tiles_to_try_compile_for_hopper():
    check_compiled(dict.fromkeys(tile for rows in ROWS for tile in ring_tiles(rows, 4)))


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


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("scheme", ["int4-64", "int3-128", "int8-channel"])
def test_fused_products_try_the_tile_in_use_first(scheme, rows):
    known = SCHEMES[scheme]
    for product in fused.PRODUCTS:
        own, *others = product.tiles(known, rows, Gpu(90))
        assert own == choose_tile(
            known.bits, known.group_size, rows, product.n, product.k, gpu=Gpu(90), paired=product.gated
        )
        assert others
        assert not product.gated or all(tile.row_tiles == 2 for tile in others)


def test_fused_products_need_a_gpu(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fused"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="none here"):
        fused.main()
