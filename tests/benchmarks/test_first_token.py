"""What a start's seconds went to: the parts are the whole."""

import pytest

from benchmarks.first_token import STARTS, Start, measure_start, stage_table
from benchmarks.random_checkpoint import write_random_checkpoint

EMPTY = Start("empty", ready=9.0, load=6.0, first_token=9.5, stages={"read": 0.5, "compile": 8.0}, spare=True)
WARM = Start("warm", ready=2.0, load=1.0, first_token=2.25, stages={"python": 0.5})


def test_the_parts_are_the_whole():
    for start in (EMPTY, WARM):
        assert sum(start.parts.values()) == pytest.approx(start.first_token)


def test_the_table_has_the_starts_side_by_side():
    lines = stage_table([EMPTY, WARM]).splitlines()
    assert "empty kernel cache, with a spare" in lines[0]
    assert "warm kernel cache, no spare" in lines[0]
    assert [line.split() for line in lines[1:]] == [
        ["read", "0.50"],
        ["compile", "8.00"],
        ["not", "told", "0.50", "1.50"],
        ["first", "prompt", "0.50", "0.25"],
        ["python", "0.50"],
        ["first", "token", "9.50", "2.25"],
    ]


def test_a_worker_tells_its_stages(tmp_path):
    write_random_checkpoint("llama-3-8b", tmp_path / "model", bits=4, tiny=True)
    starts = measure_start(tmp_path / "model", "cpu")
    assert [(start.cache, start.spare) for start in starts] == list(STARTS)
    for start in starts:
        assert {"torch and device", "imports", "read", "prepare", "warm up"} <= set(start.stages)
        assert abs(start.parts["not told"]) < 0.2 * start.ready + 0.5
    spare, alone = starts[1:]
    assert "python" in alone.stages
    assert "python" not in spare.stages  # what passed before Enter is no part of the start
    assert spare.ready < alone.ready
