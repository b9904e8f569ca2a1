"""What a job says through its watch: thinned out, with rate and time left, and never what JSON can't hold."""

import math

import msgspec
import pytest

from fqconsole.errors import OperatorError
from fqconsole.jobs.ahead import FIRST_PRICES, Ahead
from fqconsole.jobs.job_watch import JobWatch
from fqconsole.jobs.messages import LogLine, MatrixDone, PhaseStarted, Progress
from quantizer.watch import Cancelled, MatrixResult, Watch
from tests.jobs.examples import PLAN


class Asked:
    """Orders as the watch sees them."""

    paused = False
    cancelled = False


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def desk():
    said, clock, asked = [], Clock(), Asked()
    watch = JobWatch(said.append, asked, "r0001", clock=clock)
    return watch, said, clock, asked


def test_it_is_a_watch_as_the_quantizer_wants_it(desk):
    watch: Watch = desk[0]
    assert {name for name in vars(Watch) if not name.startswith("_")} <= set(dir(watch))


def test_progress_comes_at_most_ten_times_a_second_and_the_last_always(desk):
    watch, said, clock, _ = desk
    watch.phase("quantize", 1000, "matrices")
    for done in range(1, 1001):
        clock.now += 0.002
        watch.progress(done)
    told = [event for event in said if isinstance(event, Progress)]
    assert isinstance(said[0], PhaseStarted)
    assert len(told) <= 2.0 / 0.1 + 2
    assert told[-1].done == 1000
    assert told[-1].rate == pytest.approx(500, rel=0.05)
    assert told[-1].eta_seconds == 0.0
    assert told[0].host_bytes > 0


def test_a_new_phase_starts_counting_anew(desk):
    watch, said, clock, _ = desk
    watch.phase("hash", 10, "B")
    clock.now += 1
    watch.progress(10)
    watch.phase("quantize", 20, "B")
    watch.progress(0, note="first")
    assert (said[-1].phase, said[-1].rate, said[-1].note) == ("quantize", None, "first")


def test_preparation_before_the_size_is_known_does_not_count(desk):
    watch, said, clock, _ = desk
    watch.phase("load", 0, "B")
    clock.now += 60
    watch.retotal(1000)
    watch.progress(100)
    clock.now += 1
    watch.progress(200)
    assert (said[-1].rate, said[-1].eta_seconds) == (100.0, 8.0)
    assert said[-1].total == 1000


def test_a_matrix_becomes_an_event_with_all_that_is_known(desk):
    watch, said, _, _ = desk
    matrix = msgspec.structs.replace(PLAN.matrices[0], statistic={"64": 0.5, "32": math.inf})
    watch.matrix(MatrixResult(index=0, count=1, matrix=matrix, relative_error=0.1, seconds=0.2))
    assert isinstance(said[-1], MatrixDone)
    assert said[-1].statistic == {"64": 0.5}
    assert (said[-1].bytes, said[-1].group_size, said[-1].run_id) == (matrix.bytes, 32, "r0001")


def test_weights_that_are_no_numbers_end_the_job_with_a_sentence(desk):
    with pytest.raises(OperatorError, match="q_proj are not all finite"):
        desk[0].matrix(
            MatrixResult(index=0, count=1, matrix=PLAN.matrices[0], relative_error=math.nan, seconds=0.2)
        )


def test_a_cancelled_job_ends_at_its_next_checkpoint_even_when_it_is_paused(desk):
    watch, said, _, asked = desk
    watch.checkpoint()
    asked.paused = asked.cancelled = True
    with pytest.raises(Cancelled):
        watch.checkpoint()
    assert said == []


def test_a_log_line_is_passed_on(desk):
    watch, said, _, _ = desk
    watch.log("warning", "mind the gap")
    assert isinstance(said[-1], LogLine)
    assert (said[-1].level, said[-1].text) == ("warning", "mind the gap")


def test_the_time_left_is_of_the_whole_job_where_its_phases_are_foreseen(desk, tmp_path, monkeypatch):
    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path))
    watch, said, clock, _ = desk
    watch.ahead = Ahead("best on cpu", {"quantize": 3000}, clock=clock)
    watch.phase("analyse", 1000, "B")
    clock.now += 4
    watch.progress(500)
    expected = 4 + 8 * 3 * FIRST_PRICES["cpu"]["quantize"] / FIRST_PRICES["cpu"]["analyse"]
    assert said[-1].eta_seconds == pytest.approx(expected)
    watch.phase("quantize", 3000, "B", done=1000)
    clock.now += 4
    watch.progress(2000, seconds_left=7.5)
    assert said[-1].eta_seconds == 7.5
