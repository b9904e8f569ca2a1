"""The chart of errors by layer: size, scale, and where bars stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fqconsole.app.error_chart import AXIS, chart, scale

errors = st.lists(st.floats(min_value=1e-6, max_value=2.0), min_size=1, max_size=120)


@given(errors)
def test_the_scale_encloses_all_values(values):
    marks = scale(values)
    assert marks == sorted(set(marks))
    assert len(marks) >= 2
    assert marks[0] < min(values)
    assert marks[-1] >= max(values)


@given(errors, st.integers(min_value=12, max_value=160), st.integers(min_value=3, max_value=40))
def test_it_keeps_to_its_size(values, width, height):
    lines = chart([(layer, value, False) for layer, value in enumerate(values)], width, height)
    assert len(lines) == height
    assert max(cell_len(line) for line in lines) <= width


def test_nothing_is_drawn_where_there_is_no_room():
    assert chart([(0, 0.1, False)], 8, 10) == []
    assert chart([(0, 0.1, False)], 40, 2) == []


def test_a_larger_error_is_a_higher_bar():
    lines = chart([(0, 0.06, False), (1, 0.19, False)], 30, 10, count=2)
    left = sum(line[AXIS : AXIS + 10].strip() != "" for line in lines[:-2])
    right = sum(line[AXIS + 13 : AXIS + 23].strip() != "" for line in lines[:-2])
    assert 0 < left < right == 8


def test_what_went_finer_is_marked_under_its_bar():
    lines = chart([(0, 0.1, False), (1, 0.1, True), (2, 0.1, False)], 36, 8, count=3)
    axis = lines[-2][AXIS:]
    assert axis.count("▴") == 1
    assert axis.index("▴") == pytest.approx(10, abs=1)
    assert lines[-1].split() == ["0", "1", "2"]


def test_a_value_of_zero_has_no_bar():
    assert not any(line[AXIS:].strip() for line in chart([(0, 0.0, False)], 30, 8, count=1)[:-2])
