"""The kernels compile for GPUs that are not here: no spills in decode, not empty, within the limits."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compile_offline.py")
ROOT = SCRIPT.parents[2]
CAPABILITIES = (80, 89, 90, 100)
SHARED_LIMIT = {
    80: 166_912,
    89: 101_376,
    90: 232_448,
    100: 232_448,
}  # bytes a block, of the CUDA programming guide
DECODE_ROWS = 16
SCHEMES = ((4, 64), (4, 32), (8, None), (3, 64), (3, 16))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]


def compile_all(cases: Iterable[dict]) -> list[tuple[dict, dict]]:
    """(case, report) pairs, compiled in one process that has the real compiler."""
    cases = list(cases)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], input=json.dumps(cases), capture_output=True, text=True, check=False,
        cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return list(zip(cases, json.loads(done.stdout), strict=True))


def check(results: Iterable[tuple[dict, dict]]) -> None:
    """Every limit, with all offenders named."""
    offenders = []
    for case, report in results:
        spills = report["stack"] + report["local"]
        fused = case["kernel"] in ("matmul", "experts")
        wrong = {
            "spills": spills > 0 and case.get("m", 1) <= DECODE_ROWS,
            "shared memory": report["shared"] > SHARED_LIMIT[case["capability"]],
            "empty": report["stores"] == 0 or (fused and report["fused_multiplications"] == 0),
        }
        offenders += [(name, case, report) for name, is_wrong in wrong.items() if is_wrong]
    assert not offenders, "\n".join(map(str, offenders))


def test_decode_on_every_gpu():
    check(
        compile_all(
            {
                "kernel": "matmul",
                "capability": capability,
                "bits": bits,
                "group_size": group,
                "dtype": "float16",
            }
            for capability, (bits, group) in itertools.product(CAPABILITIES, ((4, 64), (8, None), (3, 64)))
        )
    )


def test_other_tiles_and_kernels_on_hopper():
    matmuls = [
        {"kernel": "matmul", "capability": 90, "bits": bits, "group_size": group, "m": m, "with_bias": True}
        for (bits, group), m in itertools.product(((4, 64), (4, None), (8, None), (3, 64)), (32, 64))
    ]
    others = [{"kernel": "sum", "capability": 90, "m": 3}]
    others += [{"kernel": "dequantize", "capability": 90, "bits": bits} for bits in (8, 4, 3)]
    check(compile_all(matmuls + others))


def test_ragged_shapes_compile():
    ragged = {"kernel": "matmul", "capability": 90, "n": 100, "k": 1056, "group_size": 32}
    check(compile_all(ragged | {"bits": bits, "m": m} for bits in (8, 4, 3) for m in (1, 64)))


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_whole_product(capability):
    check(
        compile_all(
            {"kernel": kernel, "capability": capability, "bits": bits, "group_size": group, "m": m}
            for kernel, m in (("matmul", 16), ("matmul", 256), ("experts", 1), ("experts", 64))
            for bits, group in SCHEMES
        )
    )
