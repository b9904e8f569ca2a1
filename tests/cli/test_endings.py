"""Ctrl-C, TERM, HUP and a killed worker, in real processes: the exit code, the run, and what lies on disk."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fqconsole import paths
from store import Store
from tests.cli.conftest import sparse_model

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory):
    """Takes a worker seconds to quantize, in several parts, and the disk nothing."""
    return sparse_model(tmp_path_factory.mktemp("slow") / "model", layers=3, hidden=2048, inner=8192)


class Quantizing:
    """`fqconsole quantize` in a process of its own, followed to the first event of a kind."""

    def __init__(self, model: Path, out: Path) -> None:
        self.out = out
        command = [sys.executable, "-m", "fqconsole", "quantize", str(model), "--out", str(out), "--events"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )

    def until(self, **wanted: str) -> dict:
        """The first event with these fields."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event == event | wanted:
                return event
        pytest.fail(f"no event with {wanted}")

    def end(self) -> tuple[int, str]:
        """The exit code, and what stderr said."""
        _, said = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said


def only_run() -> tuple[str, str | None]:
    """Status and error of the one run."""
    with Store.open(paths.store_file()) as store:
        (row,) = store.list_runs()
        error = store.run(row.run_id).error
    return row.status, None if error is None else error["what"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_cancels_in_order(slow_model, tmp_path, number, code):
    job = Quantizing(slow_model, tmp_path / "out")
    worker = job.until(type="WorkerStarted")["pid"]
    job.until(type="Progress", phase="quantize")
    job.process.send_signal(number)
    ended, said = job.end()
    assert ended == code
    assert "Traceback" not in said
    assert f"Ended by {number.name}" in said
    assert only_run() == ("cancelled", None)
    assert not (tmp_path / "out").exists()
    assert not alive(worker)


@pytest.mark.slow
def test_a_signal_before_the_job_has_begun_to_work(slow_model, tmp_path):
    job = Quantizing(slow_model, tmp_path / "out")
    job.until(type="WorkerStarted")
    job.process.send_signal(signal.SIGINT)
    ended, said = job.end()
    assert ended == 130
    assert "Traceback" not in said
    assert only_run() == ("cancelled", None)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_worker_is_a_failed_run_that_can_be_gone_on_with(slow_model, tmp_path, fq):
    out = tmp_path / "out"
    job = Quantizing(slow_model, out)
    worker = job.until(type="WorkerStarted")["pid"]
    job.until(type="Progress", phase="quantize")
    os.kill(worker, signal.SIGKILL)
    ended, said = job.end()
    status, error = only_run()
    assert ended == 1
    assert "SIGKILL" in said
    assert "Traceback" not in said
    assert status == "failed"
    assert "SIGKILL" in str(error)
    assert not out.exists()
    made = fq("quantize", "--resume", "r0001", "--json")
    assert made.code == 0
    assert made.json["checkpoint"] == str(out)
    assert (out / "config.json").is_file()
    assert len(made.json["matrices"]) == 21
    assert not list(tmp_path.glob("out.partial-*"))


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_job(slow_model, tmp_path):
    job = Quantizing(slow_model, tmp_path / "out")
    worker = job.until(type="WorkerStarted")["pid"]
    assert job.process.stdout is not None
    job.process.stdout.close()
    job.process.wait(timeout=SECONDS)
    assert job.process.stderr is not None
    assert "Traceback" not in job.process.stderr.read()
    job.process.stderr.close()
    assert job.process.returncode == 141
    assert only_run() == ("cancelled", None)
    assert not alive(worker)
