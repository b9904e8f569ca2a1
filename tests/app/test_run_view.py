"""Rows and lines of the Runs screen: what fits, what is said, what is left out."""

import pytest
from rich.cells import cell_len

from fqconsole.app.run_rows import cells, columns, significant, when
from fqconsole.app.run_view import comparison_lines, details
from store import Store
from tests.app.fakes import NOW
from tests.app.run_seeds import seed


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        seed(opened, tmp_path)
        yield opened


@pytest.mark.parametrize("width", [80, 100, 120, 169, 170, 200])
def test_the_columns_fit_with_border_mark_and_scrollbar(width):
    assert sum(column.width for column in columns(width)) <= width - 7


@pytest.mark.parametrize("width", [80, 120, 200])
def test_every_value_fits_its_column_or_is_a_name(store, width):
    specs = columns(width)
    for row in store.list_runs():
        values = [getattr(value, "text", value) for value in cells(row, specs, now=NOW, marked=True)]
        for spec, value in zip(specs, values, strict=True):
            assert cell_len(value) <= spec.width or spec.key in ("model", "note"), (spec.key, value)


def test_times_and_perplexities():
    day = 86_400
    assert [when(NOW - ago, NOW) for ago in (60, day, 400 * day)] == ["15:59", "11-21", "24-10"]
    assert [significant(value) for value in (1.8970, 12.34, 812.4, 12_345.0, 1.5e12)] == [
        "1.897", "12.34", "812", "1e4", "2e12",
    ]  # fmt: skip


def test_details_leave_out_what_is_not_known(store):
    lines = details(store.run("r0007"), 76)
    assert len(lines) == 2 and lines[0].startswith("cancelled   2025-11-22") and lines[1] == "int8"


def test_details_of_an_answer_keep_phrases_whole(store):
    lines = details(store.run("r0002"), 40)
    assert "TTFT 38 ms   prefill 4,120 tok/s" in lines
    assert all(cell_len(line) <= 40 for line in lines if not line.startswith(("you", "answer", "/")))


def test_a_comparison_is_aligned(store):
    text = str(comparison_lines(store.compare(["r0003", "r0002"])))
    head, *lines = text.splitlines()
    place = head.index("r0002")
    assert all(line[place - 2 : place] == "  " for line in lines)
    assert any(line.startswith("peak memory") and line.rstrip().endswith("better") for line in lines)


def test_equal_runs_say_so(store):
    assert "Nothing that was measured or set differs." in str(comparison_lines(store.compare(["r0002"])))
