"""The kernels between the matmuls compile for GPUs that are not here: stores, few spills, early starts."""

import importlib.util
import itertools
from pathlib import Path

import pytest

from tests.kernels.test_compile import CAPABILITIES, compile_all

SCRIPT = Path(__file__).with_name("compile_step.py")
SHARED = {80: 163, 89: 99, 90: 227, 100: 227}  # KiB that a program may have
MOST_STACK = 80  # bytes a thread; only a prompt's attention on older GPUs has so much
# Weights, which no kernel writes.
CONSTANTS_FIRST = ("rms norm", "layer norm", "router", "router in float32", "route in groups")
QUANTIZE = "quantize"  # what is no part of a step, but must round as a CPU does
OFTEN = ("llama", "deepseek", "prompt of llama", "rotate", "quantize by search")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]


def check(cases: list[tuple[str, int]]) -> None:
    """Every limit, with all offenders named."""
    offenders = []
    for (name, capability), report in compile_all(cases, SCRIPT):
        wrong = {
            "spills": report["local"] > 0 or report["stack"] > MOST_STACK,
            "too early": capability >= 90
            and not name.startswith(QUANTIZE)
            and name not in CONSTANTS_FIRST
            and report["too_early"] > 0,
            "shared memory": report["shared"] > SHARED[capability] << 10,
            "no result": report["stores"] == 0,
            "dependent launch": (report["dependent_launches"] > 0)
            != (capability >= 90 and not name.startswith(QUANTIZE)),
            "contracted": name.startswith(QUANTIZE) and report["contracted"] > 0,
        }
        offenders += [(what, name, capability, report) for what, is_wrong in wrong.items() if is_wrong]
    assert not offenders


def test_every_kernel():
    """One process asks the script for the names of its cases, another compiles them for one GPU."""
    [(_, names)] = compile_all([("", 0)], SCRIPT)
    check([(name, 90) for name in names])


def test_on_every_gpu():
    check([*itertools.product(OFTEN, set(CAPABILITIES) - {90}), ("settle", 80)])
