"""Runs as points: where their numbers come from, which of them are best, and where marks stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.axes import AXES, LOGARITHMIC_FROM, scale_of
from store.points import Point, distinct, front

SIZE, PERPLEXITY, SPEED = AXES[:3]


def point(run_id, size, perplexity, speed=None):
    return Point(run_id, "m", "int4 / 64", False, size, perplexity, speed, None, None, None, None)


@pytest.fixture
def family(store, add):
    """The runs of one model: made, measured, asked, and asked in 16 bits."""
    made = add("quantize", bits=4, group_size=64, path="/4", metrics={"bytes": 6.0, "source_bytes": 16.0,
                                                                      "bits_per_weight": 4.25})  # fmt: skip
    measured = add("evaluate", bits=4, group_size=64, path="/4", parent=made,
                   metrics={"perplexity": 9.8, "kl_divergence": 0.1,
                            "reference_perplexity": 9.7})  # fmt: skip
    for speed in (140.0, 150.0):
        asked = add("generate", bits=4, group_size=64, path="/4", parent=made, prompt="Why?", output="So.",
                    metrics={"decode_tok_s": speed})  # fmt: skip
    plain = add("generate", bits=16, path="/16", prompt="Why?", output="So.", metrics={"decode_tok_s": 70.0})
    return made, measured, asked, plain


def test_every_run_of_a_checkpoint_is_the_same_point(store, family):
    made, measured, asked, _plain = store.points(family)
    for found in (made, measured, asked):
        assert (found.bytes, found.perplexity, found.decode_tok_s) == (6.0, 9.8, 145.0)
        assert (found.bits_per_weight, found.kl_divergence) == (4.25, 0.1)


def test_runs_that_say_the_same_of_a_model_are_one_point_and_the_baseline_stands_for_them(store, family):
    found = store.points(family)
    assert [point.run_id for point in distinct(found)] == [family[0], family[3]]
    store.set_baseline(family[2])
    assert [point.run_id for point in distinct(store.points(family))] == [family[2], family[3]]


def test_the_16_bit_model_is_known_from_what_was_measured_against_it(store, family):
    plain = store.points(family)[3]
    assert (plain.bytes, plain.perplexity, plain.decode_tok_s, plain.kl_divergence) == (16.0, 9.7, 70.0, 0.0)
    assert plain.precision == "16-bit"


def test_what_nothing_measured_is_none(store, add):
    (found,) = store.points([add("download", "other")])
    assert {found.value(axis) for axis in AXES} == {None}


def test_the_front_is_what_no_other_beats_in_both():
    found = [
        point("a", 4, 11),
        point("b", 6, 9.8),
        point("c", 6, 9.9),
        point("d", 8, 9.8),
        point("e", None, 1),
    ]
    assert [best.run_id for best in front(found, SIZE, PERPLEXITY)] == ["a", "b"]


def test_higher_is_better_where_the_axis_says_so():
    found = [point("a", 4, 11, 100), point("b", 6, 9, 150), point("c", 7, 9, 120)]
    assert [best.run_id for best in front(found, SIZE, SPEED)] == ["a", "b"]


values = st.integers(1, 6)


@given(st.lists(st.tuples(values, values), max_size=8))
def test_the_front_holds_one_at_least_as_good_as_any(pairs):
    found = [point(str(place), *pair) for place, pair in enumerate(pairs)]
    best = front(found, SIZE, PERPLEXITY)
    assert all(any(b.bytes <= p.bytes and b.perplexity <= p.perplexity for b in best) for p in found)
    assert not any(
        a.bytes <= b.bytes
        and a.perplexity <= b.perplexity
        and (a.bytes, a.perplexity) != (b.bytes, b.perplexity)
        for a in best
        for b in best
    )


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=5), st.sampled_from(AXES))
def test_values_lie_inside_their_scale_and_so_do_its_marks(numbers, axis):
    scale = scale_of(numbers, axis)
    assert all(0 <= scale.place(number) <= 1 for number in numbers)
    assert all(-1e-6 <= scale.place(mark) <= 1 + 1e-6 for mark in scale.marks)
    assert len(scale.marks) <= 8
    assert scale.logarithmic == (max(numbers) / min(numbers) >= LOGARITHMIC_FROM)


def test_marks_are_round():
    assert scale_of([9.7, 11.0], PERPLEXITY).marks == pytest.approx((10.0, 10.5, 11.0))
    assert [mark / 2**30 for mark in scale_of([4.6 * 2**30, 15.3 * 2**30], SIZE).marks] == [4, 8, 12, 16]
    assert scale_of([1.0, 900.0], PERPLEXITY).marks[0] == 1.0


def test_one_value_and_nothing_but_zeros_have_a_scale():
    assert scale_of([5.0], SPEED).place(5.0) == pytest.approx(0.5)
    assert 0 <= scale_of([0.0, 0.0], SPEED).place(0.0) <= 1
