"""A job's kernels are compiled beside it, each once, whoever comes first."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from quantizer.base import base_plan
from quantizer.preparing import prepare_kernels
from tests.quantizer.synthetic_models import save_llama


def test_a_cpu_has_nothing_to_compile(tmp_path):
    description = save_llama(tmp_path / "m")
    plan = base_plan(description, 4)
    assert prepare_kernels(description, plan, torch.device("cpu"), analysing=True) is None


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_a_launch_waits_for_what_is_being_compiled(tmp_path):
    pytest.importorskip("triton.runtime._async_compile")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.quantizer.compile_beside"],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == {
        "put": ["block_kernel", "column_kernel", "column_kernel", "error_kernel", "range_kernel"],
        "put later": False,
        "launched": [
            "block_kernel",
            "block_kernel",
            "column_kernel",
            "column_kernel",
            "error_kernel",
            "range_kernel",
            "block_kernel",
        ],
    }
