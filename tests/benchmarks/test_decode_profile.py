"""How time that kernels share is dealt out."""

from benchmarks.decode_profile import IDLE, NEW, Part, Span, parts_of, show


def test_what_overlaps_belongs_to_the_earlier_kernel():
    spans = [Span("b", 8, 20), Span("a", 0, 10), Span("a", 25, 26), Span("c", 12, 15)]
    assert parts_of(spans) == [Part("a", 2, 11.0), Part("b", 1, 10.0), Part(IDLE, 0, 5.0), Part("c", 1, 0.0)]


def test_the_parts_are_the_whole():
    spans = [Span(name, begin, begin + 3.0) for begin, name in enumerate("abcab")]
    assert sum(part.microseconds for part in parts_of(spans)) == 7.0


def test_nothing_ran():
    assert parts_of([]) == []


def test_a_step_is_shown():
    text = show([Part("a", 2 * NEW, 30.0 * NEW), Part(IDLE, 0, 10.0 * NEW)])
    assert "75.0%" in text
    assert text.endswith("40 µs a step")
