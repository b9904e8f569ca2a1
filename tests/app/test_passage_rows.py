"""Text laid out in rows: Markdown as it looks, growing texts, marks of what differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fqconsole.app.markdown_lines import inline, shape_line
from fqconsole.app.passage_rows import LONGEST_LINE, NARROWEST, Passage, PassageRows


def rows_of(text, width=40, *, markdown=True, marks=()):
    rows = PassageRows()
    rows.show([Passage("int4", text, "answer", markdown, marks)], width)
    return rows.rows


def drawn(text, width=40, **options):
    return [row.text for row in rows_of(text, width, **options)]


def looks(text):
    return [(piece.text, " ".join(piece.styles)) for piece in inline(text, 0)]


def test_what_stands_between_marks_is_styled_and_the_marks_go():
    assert looks("a **b *c* d** `e*f*` ~~g~~ __h__ _i_") == [
        ("a ", ""), ("b ", "strong"), ("c", "strong emphasis"), (" d", "strong"), (" ", ""), ("e*f*", "code"),
        (" ", ""), ("g", "strike"), (" ", ""), ("h", "strong"), (" ", ""), ("i", "emphasis"),
    ]  # fmt: skip
    assert looks("[docs](http://x.y) \\*no\\*")[:4] == [
        ("docs", "link"), (" (", "quiet"), ("http://x.y", "quiet"), (")", "quiet"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["2 * 3 * 4", "a**b", "snake_case_name", "`open", "[red]hello[/]", "**", "5 > 3"]
)
def test_what_is_no_markup_stays_as_it_is(text):
    assert drawn(text) == [text]


def test_lines_of_every_kind():
    text = "# Title #\n- one\n  * two\n3. three\n> said\n---\n```py\nx = **1**\n```\nend"
    assert drawn(text, 12) == [
        "Title", "• one", "  • two", "3. three", "│ said", "────────────", "```py", "  x = **1**", "```",
        "end",
    ]  # fmt: skip
    assert rows_of(text)[0].pieces[0].styles == ("heading",)
    assert shape_line("```", "~~~")[1] == "~~~"


def test_a_list_hangs_and_code_keeps_its_blanks():
    assert drawn("- alpha beta gamma", 10) == ["• alpha", "  beta", "  gamma"]
    assert drawn("```\n  a    b    c\n```", 10) == ["```", "    a    b", "      c", "```"]


def test_a_table_has_columns_and_one_that_is_too_wide_stays_as_written():
    text = "| model | tok/s |\n|---|--:|\n| **int4** | 148 |\n| 千问 | 71 |\nend"
    assert drawn(text) == ["model  tok/s", "─────  ─────", "int4   148", "千问   71", "end"]
    assert drawn(text, 9)[0].startswith("| model")


def test_the_label_stands_on_the_first_row_and_a_question_after_a_blank_one():
    rows = PassageRows()
    rows.show([Passage("you", "a", "said"), Passage("int4", "b\nc"), Passage("you", "d", "said")], 20)
    assert [(row.label, row.text) for row in rows.rows] == [
        ("you", "a"), ("int4", "b"), ("", "c"), ("", ""), ("you", "d"),
    ]  # fmt: skip


def test_marks_reach_through_markup_and_rows():
    text = "one **two three** four"
    rows = rows_of(text, 10, marks=((10, 22),))
    assert [row.text for row in rows] == ["one two", "three four"]
    assert [row.differs for row in rows] == [False, True]
    assert ["".join(p.text for p in row.pieces if "differs" in p.styles) for row in rows] == [
        "",
        "three four",
    ]


def test_passages_that_stay_are_not_laid_out_again():
    rows = PassageRows()
    first = Passage("you", "question", "said")
    rows.show([first, Passage("int4", "answer")], 20)
    kept = rows.rows[0]
    rows.show([first, Passage("int4", "answer grows")], 20)
    rows.show([first, Passage("int4", "another"), Passage("you", "more", "said")], 20)
    assert rows.rows[0] is kept
    assert [row.text for row in rows.rows] == ["question", "another", "", "more"]
    assert rows.show([first], 20) and len(rows.rows) == 1
    assert not rows.show([first], 20)
    assert rows.show([first], 6) and [row.text for row in rows.rows] == ["questi", "on"]


SOURCE = st.lists(
    st.sampled_from(
        ["word ", "**bold** ", "`code` ", "\n", "\n\n", "- ", "# ", "> ", "|", "| a | b |\n", "|--|--|\n",
         "```", "```\n", "*", "_", "千问 ", "verylongwordwithoutanyblank", " ", "1. "]
    ),
    max_size=25,
)  # fmt: skip


@given(SOURCE, st.integers(4, 30), st.booleans())
def test_pieces_of_a_stream_give_the_rows_of_the_whole(pieces, width, markdown):
    rows = PassageRows()
    text = ""
    rows.show([Passage("int4", "", "answer", markdown)], width)
    for piece in pieces:
        text += piece
        rows.show([Passage("int4", text, "answer", markdown)], width)
    assert rows.rows == rows_of(text, width, markdown=markdown)
    if not markdown:
        assert all(cell_len(row.text) <= max(width, NARROWEST) for row in rows.rows)
        assert "".join("".join(row.text for row in rows.rows).split()) == "".join(text.split())


def test_a_long_line_grows_in_stretches():
    rows = PassageRows()
    text = ""
    rows.show([Passage("a", "", "answer", True)], 60)
    for number in range(900):
        text += f"- word{number} "
        rows.show([Passage("a", text, "answer", True)], 60)
    assert len(text) > 2 * LONGEST_LINE
    assert [row.text for row in rows.rows] == drawn(text, 60)
    assert rows.rows[-1].text.startswith("  ")
