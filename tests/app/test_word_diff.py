"""Two texts compared word by word."""

from hypothesis import given
from hypothesis import strategies as st

from fqconsole.app.word_diff import word_diff


def parts(text, spans):
    return [text[start:end] for start, end in spans]


def test_the_words_that_differ_are_told_on_both_sides():
    first, second = "The cat sat on the mat.", "The dog sat on a red mat."
    found = word_diff(first, second)
    assert parts(first, found.first) == ["cat", "the"]
    assert parts(second, found.second) == ["dog", "a red"]
    assert found.same_words == 1
    assert round(found.shared, 2) == round(2 * 5 / 15, 2)


def test_blanks_are_no_difference_and_an_end_is_one():
    assert word_diff("one  two\nthree", "one two three").same_words is None
    found = word_diff("one two", "one two three, four")
    assert (found.first, found.same_words) == ((), 2)
    assert parts("one two three, four", found.second) == ["three, four"]


def test_texts_with_nothing_in_common():
    found = word_diff("alpha beta", "gamma")
    assert (found.shared, found.same_words) == (0.0, 0)
    assert word_diff("", "").shared == 1.0
    assert parts("gamma", found.second) == ["gamma"]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "."]), max_size=12).map(" ".join)


@given(WORDS, WORDS)
def test_what_is_left_after_the_differences_is_the_same(first, second):
    found = word_diff(first, second)

    def rest(text, spans):
        for start, end in reversed(spans):
            text = text[:start] + " " + text[end:]
        return text.split()

    assert rest(first, found.first) == rest(second, found.second)
    back = word_diff(second, first)
    assert (back.shared == 1.0) == (found.shared == 1.0)
