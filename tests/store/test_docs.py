"""docs/runs.md names every column of the filter language, and its example filters are filters."""

import re
from pathlib import Path

import pytest

from store.columns import COLUMNS
from store.filters import parse
from store.store import FINAL

PAGE = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
EXAMPLES = [
    re.split(r"\s{3,}", line)[0]
    for line in PAGE.split("```")[1].splitlines()
    if re.search(r"\S\s{3,}\S", line)
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_column_is_told_with_its_short_names(column):
    lines = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{column.name}`" in line]
    assert any(all(f"`{short}`" in line for short in column.also) for line in lines)


def test_every_end_of_a_run_is_told():
    assert all(f"| `{status}` |" in PAGE for status in (*FINAL, "running"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_filters_that_the_store_takes(store, example):
    assert parse(example).sql
    assert store.list_runs(example) == []


def test_there_are_examples():
    assert len(EXAMPLES) >= 6
