"""Text comes out whole, whatever the tokens cut it into."""

from hypothesis import given
from hypothesis import strategies as st

from fqconsole.generation.text_stream import BROKEN, HELD_AT_MOST, Detokenizer, StopFilter


def decode_bytes(ids):
    """A tokenizer whose tokens are bytes."""
    return bytes(ids).decode("utf-8", errors="replace")


def spaced(ids):
    """A tokenizer that drops the space of the first token, as SentencePiece does."""
    return "".join(f" w{i}" for i in ids)[1:]


def stream(decode, ids):
    detokenizer = Detokenizer(decode)
    return [detokenizer.add(token) for token in ids] + [detokenizer.finish()]


@given(st.text(st.characters(exclude_characters=BROKEN, exclude_categories=["Cs"]), max_size=40))
def test_the_pieces_joined_are_the_text_and_none_is_broken(text):
    pieces = stream(decode_bytes, text.encode())
    assert "".join(pieces) == text
    assert not any(BROKEN in piece for piece in pieces)


@given(st.lists(st.integers(0, 9), max_size=20))
def test_spaces_between_tokens_survive(ids):
    assert "".join(stream(spaced, ids)) == spaced(ids)


def test_half_a_character_waits_for_its_other_half():
    euro = "€".encode()
    detokenizer = Detokenizer(decode_bytes)
    assert [detokenizer.add(byte) for byte in euro] == ["", "", "€"]


def test_an_unfinished_character_is_told_at_the_end():
    assert "".join(stream(decode_bytes, b"ok \xe2\x82")) == "ok " + BROKEN


def test_noise_is_not_held_for_ever():
    detokenizer = Detokenizer(decode_bytes)
    pieces = [detokenizer.add(0xFF) for _ in range(HELD_AT_MOST)]
    assert pieces[-1] == BROKEN * HELD_AT_MOST


@given(st.text("ab.", max_size=30), st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3), st.data())
def test_a_stop_string_ends_the_text_wherever_it_is_cut(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stop_filter = StopFilter(stops)
    told = ""
    for piece in pieces:
        told += stop_filter.add(piece)
        if stop_filter.stopped:
            break
    told += stop_filter.finish()
    # The explicit answer: read letter by letter until one of the stops has just been completed.
    expected, found = text, False
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            expected, found = text[: end - max(map(len, ended))], True
            break
    assert stop_filter.stopped == found
    if len(stops) < 2:  # a piece may complete two stops at once; then the one that begins first counts
        assert told == expected
    assert not any(stop in told for stop in stops)


def test_text_that_may_become_a_stop_string_is_held_back():
    stop_filter = StopFilter(["###"])
    assert stop_filter.add("one #") == "one "
    assert stop_filter.add("#") == ""
    assert stop_filter.add(" two") == "## two"
    assert stop_filter.add(" ###three") == " "
    assert stop_filter.stopped
    assert stop_filter.finish() == ""


def test_nothing_is_held_without_stop_strings():
    stop_filter = StopFilter([])
    assert stop_filter.add("a#") == "a#"
