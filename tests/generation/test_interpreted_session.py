"""Runs `interpreter_session_checks.py` in a process of its own, for which Triton is imported interpreting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.test_interpreter import why_no_interpreter

CHECKS = Path(__file__).with_name("interpreter_session_checks.py")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(why_no_interpreter()), reason=why_no_interpreter())
def test_a_session_through_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
