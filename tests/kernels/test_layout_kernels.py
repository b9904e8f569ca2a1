"""Repacking, dequantizing, prefill: through the interpreter in a process of its own, and compiled offline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.test_interpreter import version, why_no_interpreter

CHECKS = Path(__file__).with_name("layout_checks.py")
COMPILE = Path(__file__).with_name("compile_layout.py")
ROOT = COMPILE.parents[2]
MOST_REGISTERS = 160


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(why_no_interpreter()), reason=why_no_interpreter())
def test_layout_kernels_through_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(version("triton") == (0,), reason="Triton is not installed")
def test_layout_kernels_compile_for_every_gpu():
    """No spills, nothing through shared memory, and stores of 8 or 16 bytes."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(COMPILE)], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    reports = json.loads(done.stdout)
    offenders = [
        report
        for report in reports
        if report["spills"]
        or report["shared"]
        or report["registers"] > MOST_REGISTERS
        or not report["wide_stores"]
    ]
    assert not offenders, "\n".join(map(str, offenders))
    assert {report["capability"] for report in reports} == {80, 89, 90, 100}
