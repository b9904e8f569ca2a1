"""The error of a told time: its distance from the truth over the time of the whole job."""

import pytest

from benchmarks.time_left import truth_of
from fqconsole.jobs.messages import CheckpointWritten, LogLine, Progress


def report(t, eta):
    return Progress(
        t=t, phase="quantize", done=1.0, total=2.0, rate=1.0, eta_seconds=eta, host_bytes=1,
        device_bytes=None, note="",
    )  # fmt: skip


def end(t):
    return CheckpointWritten(
        t=t, run_id="r1", checkpoint="c", bytes=1, source_bytes=4, bits_per_weight=4.0,
        model_bits_per_weight=4.0, seconds=t,
    )  # fmt: skip


def test_errors_are_shares_of_the_whole_job_from_its_first_tenth_on():
    begun = LogLine(t=100.0, level="info", text="")
    events = [begun, report(105.0, 900.0), report(120.0, 95.0), report(150.0, None), report(190.0, 10.0)]
    truth = truth_of("best", 1, [*events, end(200.0)])
    assert (truth.seconds, truth.reports, truth.silent) == (100.0, 3, 1)
    assert (truth.largest, truth.at, truth.phase) == (pytest.approx(0.15), 0.2, "quantize")


def test_a_job_without_a_checkpoint_or_without_times_has_no_truth():
    with pytest.raises(ValueError, match="checkpoint"):
        truth_of("best", 1, [report(1.0, 2.0)])
    with pytest.raises(ValueError, match="no time"):
        truth_of("best", 1, [report(1.0, 2.0), report(6.0, None), end(10.0)])
