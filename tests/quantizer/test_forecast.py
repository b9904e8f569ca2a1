"""The time left that is told comes true, on a recorded run and on made-up ones. All clocks are false."""

import json
import random
from pathlib import Path

import pytest

from quantizer.forecast import FIRST_SECONDS, Forecast

RECORDED = json.loads((Path(__file__).parent / "data" / "forecast_trace.json").read_text())
OFF, END = 0.2, 0.02  # shares of the time left, and of the whole time


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(left, trace):
    """(seconds since the start, seconds left as told) after each report of a trace."""
    clock = Clock()
    forecast = Forecast(left, clock=clock)
    for seconds, kind, size in trace:
        clock.now = 100.0 + seconds
        forecast.take(kind, size)
        yield seconds, forecast.seconds_left()


def made_up(order, prices, noise=0.0, step=1e6):
    """A trace: bytes of each kind in that order, at a price in seconds a byte."""
    chance = random.Random(5)
    now, trace, left = 0.0, [], {}
    for kind, size in order:
        left[kind] = left.get(kind, 0.0) + size
        for _ in range(round(size / step)):
            now += step * prices[kind] * (1 + noise * chance.uniform(-1, 1))
            trace.append((now, kind, step))
    return left, trace


def all_true(left, trace):
    whole = trace[-1][0]
    checked = 0
    for seconds, said in told(left, trace):
        if seconds >= whole / 10:
            assert said is not None, f"nothing said after {seconds:.2f} of {whole:.2f} s"
            true = whole - seconds
            assert abs(said - true) <= max(OFF * true, END * whole), f"{said} for {true} at {seconds:.2f}"
            checked += 1
    assert checked > 50


def test_from_the_first_tenth_on_the_recorded_run_was_told_truly():
    all_true(RECORDED["left"], RECORDED["trace"])


@pytest.mark.parametrize("dear", [0.8, 1.0, 3.0, 30.0])
def test_kept_tensors_that_are_cheap_or_dear_mislead_nobody(dear):
    """An 8B model's embeddings and head, 13 % of its bytes, at both ends: copied, not rounded."""
    order = [("kept", 65e6), ("matrix", 870e6), ("kept", 65e6)]
    all_true(*made_up(order, {"kept": 1e-7 / dear, "matrix": 1e-7}, noise=0.5))


def test_a_machine_that_becomes_half_as_fast_is_told_so_in_time():
    left, trace = made_up([("matrix", 300e6)], {"matrix": 1e-7})
    half = [(trace[-1][0] + 0.2 * (index + 1), "matrix", 1e6) for index in range(300)]
    said = dict(told({"matrix": 900e6}, [*trace, *half]))
    assert said[half[-1][0]] == pytest.approx(300 * 0.2, rel=0.1)
    assert left == {"matrix": 300e6}


def test_nothing_is_said_before_anything_is_known_and_a_pause_does_not_count():
    clock = Clock()
    forecast = Forecast({"matrix": 100.0, "kept": 10.0}, clock=clock)
    assert forecast.seconds_left() is None
    clock.now += FIRST_SECONDS
    forecast.take("kept", 5.0)
    assert forecast.seconds_left() is None  # most of what is left is matrices
    clock.now += 1.0
    forecast.take("matrix", 10.0)
    before = forecast.seconds_left()
    clock.now += 3600.0
    forecast.skip()
    assert forecast.seconds_left() == before
    clock.now += 1.0
    forecast.take("matrix", 10.0)
    assert forecast.seconds_left() == pytest.approx(80 * 0.1 + 5 * FIRST_SECONDS / 5, rel=0.01)
