"""Kernels that a forward asks for are compiled side by side, before the first launch; without a GPU."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels import tuning
from kernels.compilation import compiles_together, is_asking
from kernels.launch import ASKED, Launch

ROOT = Path(__file__).parents[2]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


class AskedKernel:
    """Stands for Triton: a launch would be an error."""

    arg_names = ("x", "BLOCK")

    def warmup(self, *arguments, grid, **options):
        return arguments, grid, options


def test_what_is_asked_for_is_not_launched():
    launch = Launch(AskedKernel(), {"BLOCK": 64}, {"num_warps": 4})
    launch.compiled[()] = None  # even what was compiled before: its input would be of no meaning
    asked = {}
    token = ASKED.set(asked)
    try:
        assert is_asking()
        for _ in range(2):
            launch((2, 1, 1), (), "x")
        launch((2, 1, 1), (), "y")
    finally:
        ASKED.reset(token)
    assert [*asked.values()] == [((name, 64), (2, 1, 1), {"num_warps": 4}) for name in "xy"]
    assert not is_asking()


@needs_triton
@pytest.mark.slow
def test_all_that_a_forward_asks_for_is_ready_before_it_runs(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.compile_together"],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    matmul = ["reorder_kernel", "ring_kernel"]
    assert json.loads(done.stdout) == {
        "asking": True,
        "silent": True,
        "put": ["norm_kernel", *matmul],
        "put later": False,
        "in threads": True,
        "launched": ["norm_kernel", *matmul, *matmul],
    }


@needs_triton
def test_nothing_is_asked_for_where_tiles_are_timed(monkeypatch):
    monkeypatch.delenv(tuning.SWITCH, raising=False)
    assert compiles_together(torch.device("cuda", 0))
    assert not compiles_together(torch.device("cpu"))
    monkeypatch.setenv(tuning.SWITCH, "1")
    assert not compiles_together(torch.device("cuda", 0))
