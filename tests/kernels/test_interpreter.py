"""Runs each `interpreter_*checks.py` in a process of its own: it is switched on before Triton is imported."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = sorted(Path(__file__).parent.glob("interpreter_*checks.py"))


def version(package: str) -> tuple[int, ...]:
    """(major, minor) of an installed package; (0,) where it is missing."""
    try:
        return tuple(int(part) for part in importlib.metadata.version(package).split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return (0,)


def why_no_interpreter() -> str:
    if version("triton") == (0,):
        return "Triton is not installed"
    if version("triton") < (3, 7) and version("numpy") >= (2, 4):
        return "Triton 3.6's interpreter can't read loop bounds with numpy 2.4 or newer"
    return ""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(why_no_interpreter()), reason=why_no_interpreter())
@pytest.mark.parametrize("checks", CHECKS, ids=lambda path: path.stem)
def test_numerics_through_the_interpreter(checks):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
