"""Who is on the frontier, from made-up points."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.frontier import OURS, Point, dominates, frontier, loss_at, verdict

POINTS = st.lists(
    st.builds(
        Point,
        who=st.sampled_from((OURS, "peer")),
        detail=st.just(""),
        size=st.sampled_from((3, 4, 8)),
        bits=st.integers(6, 18).map(lambda halves: halves / 2),
        loss=st.integers(1, 12).map(float),
    ),
    max_size=12,
)


def ours(bits: float, loss: float, size: int = 4) -> Point:
    return Point(OURS, f"best, {bits}", size, bits, loss)


def peer(bits: float, loss: float, size: int = 4) -> Point:
    return Point("peer", f"at {bits}", size, bits, loss)


@given(POINTS)
def test_nothing_on_the_frontier_is_dominated_and_everything_off_it_is(points: list[Point]) -> None:
    best = frontier(points)
    assert not any(dominates(one, other) for one in points for other in best)
    assert all(any(dominates(one, point) for one in best) for point in points if point not in best)


@given(POINTS)
def test_the_frontier_falls_from_point_to_point(points: list[Point]) -> None:
    best = frontier(points)
    assert all(
        (left.bits, left.loss) == (right.bits, right.loss)
        or (left.bits < right.bits and left.loss > right.loss)
        for left, right in pairwise(best)
    )


def test_equal_points_are_both_on_the_frontier() -> None:
    assert len(frontier([ours(4, 1.0), peer(4, 1.0)])) == 2


def test_alone_where_every_peer_is_dominated() -> None:
    found = verdict([ours(4.25, 1.0), peer(4.25, 1.1), peer(4.5, 1.0)], 4)
    assert found.word == "on the frontier alone"
    assert found.losing == ()


def test_a_smaller_peer_that_loses_more_is_on_it_too() -> None:
    small = peer(4.1, 1.5)
    found = verdict([ours(4.25, 1.0), small], 4)
    assert found.word == "on the frontier, not alone"
    assert found.others == (small,)


def test_off_it_where_a_peer_is_as_small_and_better() -> None:
    mine, better = ours(4.25, 1.0), peer(4.25, 0.9)
    found = verdict([mine, better], 4)
    assert found.word == "off the frontier"
    assert found.losing == ((mine, (better,)),)


def test_a_peer_of_another_name_counts_where_its_bits_say_so() -> None:
    mine, three = ours(4.25, 1.0), peer(4.0, 0.9, size=3)
    assert verdict([mine, three], 4).losing == ((mine, (three,)),)


def test_one_of_ours_behind_another_of_ours_is_no_loss() -> None:
    found = verdict([ours(4.25, 1.0), ours(4.25, 2.0)], 4)
    assert found.word == "on the frontier alone"
    assert found.losing == ()


def test_between_two_of_ours_the_logarithm_is_straight() -> None:
    points = [ours(4.0, 4.0), ours(5.0, 1.0), peer(4.5, 0.1), ours(4.5, 9.0, size=3)]
    assert loss_at(points, 4, 4.0) == pytest.approx(4.0)
    assert loss_at(points, 4, 4.5) == pytest.approx(2.0)
    assert loss_at(points, 4, 4.25) == pytest.approx(math.sqrt(8.0))
    assert loss_at(points, 4, 7.0) == pytest.approx(1.0)


def test_below_the_smallest_of_ours_there_is_nothing_to_compare_with() -> None:
    assert loss_at([ours(4.25, 1.0)], 4, 4.1) is None
    assert loss_at([peer(4.0, 1.0)], 4, 4.1) is None


def test_a_loss_of_nothing_has_no_logarithm() -> None:
    assert loss_at([ours(8.0, 1.0, 8), ours(9.0, 0.0, 8)], 8, 8.5) == pytest.approx(1.0)
