"""Measured tiles: only when asked, kept for later sessions, never taken from another GPU or other kernels."""

import json
import logging

import pytest
import torch

from kernels.tiles import Gpu, Tile, choose_tile
from kernels.tuning import Problem, Tuner, cache_folder, candidates, is_asked_for, source_hash
from tests.kernels.cases import random_matrix, random_rows

STAMP = {"gpu": "NVIDIA Imaginary", "capability": 86, "triton": "3.7.1", "kernels": "abc"}
PROBLEM = Problem(4, 64, 8, 4096, 4096, "float16")
CHOSEN = choose_tile(4, 64, 1, 4096, 4096, gpu=Gpu(86, 82))
SLOW = Tile(1, 1, 4, 1, 0)


def measure(tile: Tile) -> float:
    """Two row tiles win; those with two parts read ahead do not fit."""
    if tile.depth == 2:
        raise RuntimeError("out of registers")
    return 1.0 / tile.row_tiles + 0.01 * tile.warps


def test_the_fastest_is_kept_for_later_sessions(tmp_path):
    tuner = Tuner(tmp_path / "kernels", STAMP)
    assert tuner.known(PROBLEM) is None
    best = tuner.tune(PROBLEM, candidates(CHOSEN, 16, paired=False), measure)
    assert (best.row_tiles, best.warps, best.depth) == (2, 4, 1)
    assert Tuner(tmp_path / "kernels", STAMP).known(PROBLEM) == best
    assert [file.name for file in (tmp_path / "kernels").iterdir()] == [tuner.file.name]


def test_an_upgrade_starts_anew(tmp_path):
    Tuner(tmp_path, STAMP).keep(PROBLEM, SLOW)
    for name, value in (("gpu", "NVIDIA Other"), ("capability", 89), ("triton", "3.8.0"), ("kernels", "abd")):
        assert Tuner(tmp_path, STAMP | {name: value}).known(PROBLEM) is None
    assert Tuner(tmp_path, STAMP).known(PROBLEM) == SLOW


def test_two_processes_add_to_one_file(tmp_path):
    other = Problem(8, None, 8, 4096, 4096, "float16")
    first, second = Tuner(tmp_path, STAMP), Tuner(tmp_path, STAMP)
    first.keep(PROBLEM, SLOW)
    second.keep(other, CHOSEN)
    third = Tuner(tmp_path, STAMP)
    assert (third.known(PROBLEM), third.known(other)) == (SLOW, CHOSEN)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps(STAMP),
        json.dumps(STAMP | {"gpu": "NVIDIA Foreign", "tiles": {}}),
        json.dumps(STAMP | {"tiles": {PROBLEM.key: {"warps": 4}}}),
        json.dumps(STAMP | {"tiles": {PROBLEM.key: dict.fromkeys(vars(SLOW), 3)}}),
        json.dumps(STAMP | {"tiles": {PROBLEM.key: vars(SLOW) | {"depth": "1"}}}),
        "\udcff",
    ],
)
def test_a_broken_or_foreign_file_is_left_aside_with_one_warning(tmp_path, caplog, text):
    file = Tuner(tmp_path, STAMP).file
    file.write_bytes(text.encode(errors="surrogateescape"))
    with caplog.at_level(logging.WARNING):
        tuner = Tuner(tmp_path, STAMP)
        assert tuner.known(PROBLEM) is None
        tuner.keep(PROBLEM, SLOW)
    assert len(caplog.records) == 1
    assert Tuner(tmp_path, STAMP).known(PROBLEM) == SLOW


def test_a_folder_that_takes_no_file_costs_only_the_memory_of_it(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    tuner = Tuner(tmp_path / "file" / "kernels", STAMP)
    assert tuner.tune(PROBLEM, (SLOW,), measure) == SLOW == tuner.known(PROBLEM)
    assert "not kept" in caplog.text


def test_no_tile_that_runs(tmp_path):
    def fail(tile: Tile) -> float:
        raise RuntimeError("too large")

    with pytest.raises(RuntimeError, match="no tile runs"):
        Tuner(tmp_path, STAMP).tune(PROBLEM, (SLOW,), fail)


@pytest.mark.parametrize("m", [1, 16, 32])
@pytest.mark.parametrize("paired", [False, True])
def test_candidates_are_few_and_start_with_the_choice(m, paired):
    chosen = choose_tile(4, 64, m, 4096, 4096, gpu=Gpu(80, 108), paired=paired)
    tiles = candidates(chosen, 16, paired=paired)
    assert tiles[0] == chosen
    assert 1 < len(tiles) == len(set(tiles)) <= 25
    assert all(tile.n_tiles == chosen.n_tiles for tile in tiles)
    assert not paired or all(tile.row_tiles == 2 for tile in tiles)
    assert candidates(replace_warps(chosen), 1, paired=paired) == (replace_warps(chosen),)


def replace_warps(tile: Tile) -> Tile:
    return Tile(tile.n_tiles, tile.row_tiles, 1, tile.depth, tile.programs)


def test_only_when_asked(monkeypatch):
    monkeypatch.delenv("FQCONSOLE_TUNE", raising=False)
    assert not is_asked_for()
    monkeypatch.setenv("FQCONSOLE_TUNE", "0")
    assert not is_asked_for()
    monkeypatch.setenv("FQCONSOLE_TUNE", "1")
    assert is_asked_for()


def test_where_it_lies(monkeypatch, tmp_path):
    from fqconsole import paths

    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path))
    assert cache_folder() == paths.cache_dir() / "kernels"
    monkeypatch.delenv("FQCONSOLE_HOME")
    assert cache_folder() == paths.cache_dir() / "kernels"
    assert len(source_hash()) == 16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
@pytest.mark.parametrize("activation", [None, "silu"])
def test_tuned_on_a_gpu(monkeypatch, tmp_path, activation):
    """Asked for, the first multiplication measures; another matrix of the shape takes what was kept."""
    from kernels import linear, prepare, tuning

    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path))
    tuning.tuner_of.cache_clear()
    packed = random_matrix((512, 1024), 4, 64, torch.float16, device="cuda")
    x = random_rows((3, 1024), torch.float16, device="cuda")
    untuned = linear(x, prepare(packed), activation=activation)
    assert not list(tmp_path.rglob("*.json"))
    monkeypatch.setenv("FQCONSOLE_TUNE", "1")
    tuned = linear(x, prepare(packed), activation=activation)
    (file,) = tmp_path.rglob("tiles-*.json")
    assert len(json.loads(file.read_text())["tiles"]) == 1
    monkeypatch.setattr(tuning, "seconds_of", None)
    assert torch.equal(linear(x, prepare(packed), activation=activation), tuned)
    assert torch.allclose(tuned, untuned, rtol=1e-2, atol=1e-2)
    tuning.tuner_of.cache_clear()
