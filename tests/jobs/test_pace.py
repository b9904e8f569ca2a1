"""Rate and time left, from the amounts done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.jobs.pace import FIRST_SECONDS, Pace


def run(pace, stretches, now=0.0, done=0.0):
    for seconds, rate in stretches:
        now += seconds
        done += seconds * rate
        pace.note(now, done)
    return now, done


def test_nothing_is_said_before_anything_is_known():
    pace = Pace()
    assert pace.rate() is None
    pace.note(10.0, 0.0)
    pace.note(10.0 + FIRST_SECONDS / 2, 5.0)
    assert pace.rate() is None
    assert pace.eta(100.0) is None


@given(
    rate=st.floats(1e-3, 1e9),
    lengths=st.lists(st.floats(0.05, 30.0), min_size=10, max_size=60),
)
def test_a_steady_pace_is_told_exactly_however_unevenly_it_is_reported(rate, lengths):
    pace = Pace()
    pace.note(0.0, 0.0)
    _, done = run(pace, [(seconds, rate) for seconds in lengths])
    assert pace.rate() == pytest.approx(rate)
    assert pace.eta(done + 7 * rate) == pytest.approx(7.0, rel=1e-3)


def test_a_change_of_pace_shows_within_seconds_and_a_hiccup_hardly():
    pace = Pace()
    pace.note(0.0, 0.0)
    now, done = run(pace, [(0.1, 100.0)] * 300)
    now, done = run(pace, [(0.1, 0.0)], now, done)
    assert pace.rate() > 95
    run(pace, [(0.1, 10.0)] * 300, now, done)
    assert pace.rate() == pytest.approx(10.0, rel=0.1)


def test_a_resumed_job_does_not_count_what_was_done_before():
    pace = Pace()
    pace.note(5.0, 1000.0)
    run(pace, [(1.0, 10.0)], 5.0, 1000.0)
    assert pace.rate() == pytest.approx(10.0)


def test_a_pause_does_not_slow_the_rate():
    pace = Pace()
    pace.note(0.0, 0.0)
    now, done = run(pace, [(1.0, 10.0)] * 5)
    pace.skip(600.0)
    run(pace, [(1.0, 10.0)], now + 600.0, done)
    assert pace.rate() == pytest.approx(10.0)


def test_the_time_left_is_never_negative_and_unknown_without_a_total():
    pace = Pace()
    pace.note(0.0, 0.0)
    run(pace, [(1.0, 10.0)])
    assert pace.eta(5.0) == 0.0
    assert pace.eta(0.0) is None
