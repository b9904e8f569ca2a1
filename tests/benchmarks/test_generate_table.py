"""The whole table: kept after each point, gone on with, nothing begun that time or room may not allow."""

import json

import pytest

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")

from benchmarks import generate_table as table  # noqa: E402
from benchmarks.generate_table import POINTS, Point, Record, run, seconds_for  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A few tokens, one run, no measured bandwidth."""
    monkeypatch.setattr(table, "NEW", 4)
    monkeypatch.setattr(table, "bandwidth_of", lambda device: 1e9)
    monkeypatch.setattr("benchmarks.generate.RUNS", 1)


def go(record, *points, budget=100.0):
    return run(points, record, CPU, budget, tiny=True, place=None)


def test_points_have_names_of_their_own():
    assert len({point.name for point in POINTS}) == len(POINTS)


def test_what_was_measured_is_kept_and_not_measured_again(tmp_path, monkeypatch):
    wide, packed = Point("llama-3-8b", 16, prompt=8), Point("llama-3-8b", 4, prompt=8, head=8)
    record = Record(tmp_path, "a machine")
    assert go(record, wide, packed) == []
    kept = json.loads((tmp_path / "generate.json").read_text())
    assert list(kept["points"]) == [wide.name, packed.name]
    shown = (tmp_path / "generate.md").read_text()
    assert "| int4, head int8 |" in shown
    monkeypatch.setattr(table, "measure", lambda *given, **more: pytest.fail("measured again"))
    assert go(Record(tmp_path, "a machine"), wide, packed) == []
    with pytest.raises(SystemExit, match="a machine"):
        Record(tmp_path, "another machine")


def test_a_failed_point_is_told_and_tried_again(tmp_path, monkeypatch):
    point = Point("llama-3-8b", prompt=8)
    real = table.measure

    def fail(*given, **more):
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(table, "measure", fail)
    record = Record(tmp_path, "a machine")
    go(record, point)
    assert f"- {point.name}: RuntimeError: no such kernel" in (tmp_path / "generate.md").read_text()
    monkeypatch.setattr(table, "measure", real)
    go(record, point)
    assert "no such kernel" not in (tmp_path / "generate.md").read_text()


def test_no_point_is_begun_for_which_time_or_room_may_not_be_left(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "measure", lambda *given, **more: pytest.fail("begun"))
    record = Record(tmp_path, "a machine")
    (why,) = go(record, Point("llama-3-8b"), budget=5)
    assert "60 s may be needed" in why
    monkeypatch.setattr(table, "free_bytes", lambda device: 1000)
    (why,) = go(record, Point("llama-3-8b"))
    assert "GiB are free" in why


def test_what_a_point_may_need_follows_the_slowest_so_far(tmp_path):
    record = Record(tmp_path, "a machine")
    assert seconds_for(1, record) == table.FIRST_SECONDS
    record.add(Point("opt-30b"), lines=[], bytes=10 << 30, seconds=30.0, failed="no")
    assert seconds_for(1, record) == table.FIRST_SECONDS
    line = {"model": "m", "precision": "int4", "path": "p", "weights_bytes": 1, "ttft_ms": 1.0}
    line |= {"prefill_tok_s": 1.0, "decode_tok_s": 1.0}
    record.add(Point("llama-3-8b"), lines=[line], bytes=5 << 30, seconds=20.0)
    assert seconds_for(40 << 30, record) == pytest.approx(10 + 1.3 * 2 * 40)
