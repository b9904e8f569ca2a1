"""How long quantizing took here, and what that tells of the next job."""

import pytest

from fqconsole.app import rooms
from fqconsole.app.job_pace import Pace, first_guess, nearest, paces, time_line
from store import Store
from tests.app.run_seeds import begin

GIB = 1 << 30
KNOWN = [Pace("r0002", "best", 4 * GIB, 100.0), Pace("r0001", "fast", 4 * GIB, 20.0)]


def test_the_next_job_takes_as_long_by_bytes_as_one_in_its_mode_took():
    assert time_line(KNOWN, "best", 8 * GIB, 1.0) == "   ~03:20  as r0002 took here, mode best"
    assert time_line(KNOWN, "fast", 8 * GIB, 1.0) == "    ~40 s  as r0001 took here, mode fast"


def test_a_smaller_model_is_not_promised_to_take_less_than_the_run_did():
    assert "~01:40" in time_line(KNOWN, "best", GIB, 1.0)


def test_another_mode_or_a_model_of_quite_another_size_tells_nothing():
    assert nearest(KNOWN, "finequant", GIB) is None
    assert nearest(KNOWN, "best", 4 * GIB * 100) is None
    line = time_line(KNOWN, "finequant", GIB, 83.0)
    assert line == "   ~01:23  a guess (two CPU cores): no such run in mode finequant yet"


def test_the_guess_grows_with_the_model_and_with_what_the_job_does_first():
    prices = {"analyse": 1e-9, "quantize": 3e-9}

    def guess(size, mode="best", *, planned=False):
        return first_guess(size, mode, prices, planned=planned)

    assert guess(8 * GIB) > guess(8 * GIB, "fast") > guess(8 * GIB, planned=True) > 8
    assert guess(16 * GIB) - guess(8 * GIB) == pytest.approx(guess(8 * GIB) - guess(0))
    assert rooms.first_guess(8 * GIB, "best", False) > rooms.first_guess(8 * GIB, "best", True)


def test_of_several_runs_the_one_of_the_nearest_size_counts():
    known = [*KNOWN, Pace("r0003", "best", 30 * GIB, 600.0)]
    assert nearest(known, "best", 20 * GIB).run_id == "r0003"
    assert nearest(known, "best", 5 * GIB).run_id == "r0002"


def test_finished_runs_of_the_record_are_read(tmp_path):
    with Store.open(tmp_path / "runs.db") as store:
        options = {"mode": "best", "out": str(tmp_path)}
        begin(store, "quantize", "m", ago=100, took=12, options=options, metrics={"source_bytes": 5.0 * GIB})
        begin(store, "quantize", "m", ago=90, took=12, options=options, status="failed")
        begin(store, "generate", "m", ago=80, took=1)
        assert paces(store) == [Pace("r0001", "best", 5 * GIB, 12.0)]
