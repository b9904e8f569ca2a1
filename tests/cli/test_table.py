"""Columns line up in terminal cells."""

from hypothesis import given
from hypothesis import strategies as st

from fqconsole.cli.table import cells, cut, table


def test_numbers_stand_to_the_right_and_words_to_the_left():
    text = table(["model", "tok/s"], [["a", "9.5"], ["longer", "148"]], right="tok/s")
    assert text.split("\n") == ["model   tok/s", "a         9.5", "longer    148"]


def test_wide_and_combined_characters_count_as_the_terminal_counts_them():
    assert cells("千问") == 4
    assert cells("e\u0301") == 1
    rows = table(["m", "n"], [["千问", "1"], ["e\u0301abc", "2"]]).split("\n")
    assert [cells(row) for row in rows] == [7, 7, 7]


def test_a_newline_in_a_name_breaks_no_row():
    assert len(table(["m"], [["a\nb\x1b[2J"]]).split("\n")) == 2


@given(st.text(alphabet="ab千问é"), st.integers(min_value=1, max_value=20))
def test_cut_text_fits(text, width):
    assert cells(cut(text, width)) <= width
    assert cells(text) > width or cut(text, width) == text
