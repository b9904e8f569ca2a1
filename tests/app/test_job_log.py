"""What jobs said, kept up to a bound however much that was."""

from fqconsole.app.job_log import KEPT, JobLog
from fqconsole.jobs.messages import JobDone, JobFailed, LogLine
from tests.app.fakes import NOW


def line(number):
    return LogLine(t=NOW + number, level="info", text=f"line {number}")


def test_only_what_is_new_is_handed_out():
    log = JobLog()
    log.take(line(0))
    seen = log.count
    assert log.since(seen) == []
    log.take(line(1))
    log.take(JobDone(t=NOW, run_id="r1", status="done"))
    assert log.since(seen) == [(NOW + 1, "info", "line 1")]
    assert [text for _t, _level, text in log.since(0)] == ["line 0", "line 1"]


def test_a_failure_is_told_with_its_details():
    log = JobLog()
    log.take(JobFailed(NOW, "r1", "internal", "It broke.", "Try again.", 1, details="one\ntwo"))
    assert [(level, text) for _t, level, text in log.since(0)] == [
        ("error", "It broke. Try again."),
        ("error", "one"),
        ("error", "two"),
    ]


def test_of_a_flood_the_last_lines_are_kept():
    log = JobLog()
    for number in range(KEPT * 3):
        log.take(line(number))
    assert log.count == KEPT * 3
    assert len(log.since(0)) == KEPT
    assert log.since(KEPT * 3 - 2)[-1] == (NOW + KEPT * 3 - 1, "info", f"line {KEPT * 3 - 1}")
