"""Wrapping: nothing is lost, every line fits, and a stream wraps as its whole text would."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fqconsole.app.visible_text import one_line, visible
from fqconsole.app.wrapping import _wrapped_words, cut, flowed, wrapped_paragraph, wrapped_text

texts = st.text(alphabet="ab é千🙂 -", max_size=80)
widths = st.integers(2, 30)


@given(texts, widths)
def test_the_lines_joined_are_the_text_and_each_fits(text, width):
    lines = wrapped_paragraph(text, width)
    assert "".join(lines) == text
    assert all(cell_len(line.rstrip()) <= width for line in lines if not line.isspace())


@given(texts, texts, widths)
def test_more_text_needs_only_the_last_line_to_be_wrapped_again(first, more, width):
    lines = wrapped_paragraph(first, width)
    assert [*lines[:-1], *wrapped_paragraph(lines[-1] + more, width)] == wrapped_paragraph(
        first + more, width
    )


@given(st.text(alphabet="ab  c", max_size=80), widths)
def test_plain_text_is_wrapped_like_any_other(text, width):
    assert wrapped_paragraph(text, width) == _wrapped_words(text, width)


def test_words_stay_whole_where_they_fit():
    assert wrapped_text("one two three\n\nfour", 7) == ["one two", "three", "", "four"]
    assert wrapped_text("abcdefghij k", 4) == ["abcd", "efgh", "ij k"]
    assert wrapped_text("千问千问", 5) == ["千问", "千问"]


def test_phrases_stay_whole():
    assert flowed(["ab", "", "cd", "efghij"], 8) == ["ab   cd", "efghij"]


def test_what_is_cut_says_so():
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"


@given(st.text(max_size=60), st.integers(0, 60))
def test_control_characters_are_written_out_wherever_a_stream_is_cut(text, at):
    shown = visible(text)
    assert shown == visible(text[:at]) + visible(text[at:])
    assert not any((ord(sign) < 32 and sign != "\n") or 0x7F <= ord(sign) < 0xA0 for sign in shown)
    assert "\n" not in one_line(text)


def test_an_escape_sequence_is_read_not_obeyed():
    assert visible("\x1b[2J\tx") == "\\x1b[2J    x"
    assert visible("a\u202eb\ud800") == "a\\u202eb\\ud800"
