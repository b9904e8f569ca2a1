"""Size against predicted loss as text."""

from hypothesis import given
from hypothesis import strategies as st

from fqconsole.app.frontier_chart import CHOSEN, POINT, chart

POINTS = ((3.05, 0.062), (3.5, 0.011), (4.2, 0.004), (6.0, 0.0007), (8.8, 0.00002))


def test_less_loss_stands_lower_and_more_bits_further_right():
    lines = chart(POINTS, None, 60, 12)
    places = [(row, line.index(POINT)) for row, line in enumerate(lines[:-2]) if POINT in line]
    assert places == sorted(places)
    assert [column for _row, column in places] == sorted(column for _row, column in places)
    assert "6.20 %" in lines[0] and "0.002 %" in lines[-3]
    assert lines[-1].split() == ["3.05", "bits", "per", "weight", "8.80"]


def test_the_chosen_plan_is_marked_on_the_frontier():
    lines = chart(POINTS, (4.2, 0.004), 60, 12)
    assert sum(line.count(CHOSEN) for line in lines) == 1
    assert sum(line.count(POINT) for line in lines) == len(POINTS) - 1


def test_nothing_is_drawn_of_one_point_or_without_room():
    assert chart(POINTS[:1], None, 60, 12) == []
    assert chart(POINTS, None, 15, 12) == []
    assert chart(POINTS, None, 60, 3) == []
    assert chart(((3.0, 0.0), (4.0, 0.0)), (3.5, 0.0), 60, 12) == []


@given(
    st.lists(st.tuples(st.floats(2, 16), st.floats(1e-9, 1)), min_size=2, max_size=40),
    st.integers(24, 200),
    st.integers(4, 50),
)
def test_it_keeps_to_its_size(points, width, height):
    lines = chart(points, points[0], width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
