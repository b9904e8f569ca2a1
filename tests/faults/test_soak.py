"""Many jobs in one console: what it holds does not grow with their number."""

import os
import subprocess
import sys

import pytest

from tests.faults.conftest import only_in_full
from tests.faults.operator import ROOT


@only_in_full
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_console_that_did_many_jobs_holds_no_more_than_after_a_few():
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--answers", "60", "--quantize", "10"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line.split() for line in ended.stdout.splitlines() if " answers " in line or " jobs " in line]
    assert len(lines) > 8
    memory, files, database, _ = zip(*(line[-4:] for line in lines), strict=True)
    assert len(set(files)) == 1, "open files"
    assert float(memory[-1]) - float(memory[0]) < 20, "MiB of memory"
    assert float(database[-1]) < 8, "MiB of database"
