"""What a start's seconds went to: the parts are the whole."""

import pytest

from benchmarks.first_token import Start, measure_start, stage_table
from benchmarks.random_checkpoint import write_random_checkpoint

EMPTY = Start("empty", ready=9.0, load=6.0, first_token=9.5, stages={"python": 0.5, "compile": 8.0})
WARM = Start("warm", ready=2.0, load=1.0, first_token=2.25, stages={"python": 0.5})


def test_the_parts_are_the_whole():
    for start in (EMPTY, WARM):
        assert sum(start.parts.values()) == pytest.approx(start.first_token)


def test_the_table_has_both_starts_side_by_side():
    lines = stage_table([EMPTY, WARM]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["python", "0.50", "0.50"],
        ["compile", "8.00"],
        ["not", "told", "0.50", "1.50"],
        ["first", "prompt", "0.50", "0.25"],
        ["first", "token", "9.50", "2.25"],
    ]


def test_a_worker_tells_its_stages(tmp_path):
    write_random_checkpoint("llama-3-8b", tmp_path / "model", bits=4, tiny=True)
    for start in measure_start(tmp_path / "model", "cpu"):
        assert {"python", "torch and device", "imports", "read", "prepare", "warm up"} <= set(start.stages)
        assert abs(start.parts["not told"]) < 0.2 * start.ready + 0.5
