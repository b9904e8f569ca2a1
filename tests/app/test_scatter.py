"""The scatter plot as text: every line as wide as asked for, signs, labels that cover nothing."""

from hypothesis import given
from hypothesis import strategies as st

from fqconsole.app.scatter import BASELINE, BEST, OTHER, direction, scatter
from store.axes import AXES
from store.points import Point

SIZE, PERPLEXITY, SPEED = AXES[:3]
GIB = 2**30


def point(number, size, perplexity, *, baseline=False, speed=None):
    return Point(f"r{number:04}", "m", "int4 / 64", baseline, size, perplexity, speed, None, None, None, None)


def test_signs_labels_and_marks():
    found = [point(1, 16 * GIB, 9.7, baseline=True), point(2, 6 * GIB, 9.8), point(3, 8 * GIB, 9.9)]
    text = "\n".join(scatter(found, SIZE, PERPLEXITY, 70, 14).lines)
    assert f"{OTHER} r0003 int4 / 64" in text
    assert text.count(BASELINE) == text.count("r0001 int4 / 64") == 1
    assert text.count(BEST) == text.count("r0002 int4 / 64") == 1
    assert "8.0 GiB" in text and "9.80 ┤" in text


def test_nothing_to_show_or_no_room_is_none():
    assert scatter([], SIZE, PERPLEXITY, 70, 14) is None
    assert scatter([point(1, 1.0, None)], SIZE, PERPLEXITY, 70, 14) is None
    assert scatter([point(1, 1.0, 1.0)], SIZE, PERPLEXITY, 20, 14) is None


def test_directions_are_words():
    assert direction(SIZE, upright=False) == "size: lower is better ←"
    assert direction(SPEED, upright=True) == "tok/s: higher is better ↑"


numbers = st.floats(1e-3, 1e12)


@given(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12),
    st.integers(32, 120),
    st.integers(6, 30),
)
def test_every_line_is_as_wide_as_asked_for_and_every_point_has_a_sign(pairs, width, height):
    found = [point(number, *pair) for number, pair in enumerate(pairs)]
    plot = scatter(found, SIZE, PERPLEXITY, width, height)
    assert len(plot.lines) == height
    assert {len(line) for line in plot.lines} == {width}
    assert {len(styles) for styles in plot.styles} == {width}
    assert BEST in "".join(plot.lines)
