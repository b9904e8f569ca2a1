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

from kernels.tiles import LARGEST_UNSORTED, Gpu, choose_tile

SCRIPT = Path(__file__).with_name("compile_offline.py")
ROOT = SCRIPT.parents[2]
CAPABILITIES = (80, 89, 90, 100)
SCHEMES = ((4, 64), (4, 16), (4, None), (8, None), (8, 64), (3, 64), (3, None))
MOST_STACK = 32  # bytes a thread, of a few values that are needed once a block

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]


def compile_all(cases: Iterable[dict], script: Path = SCRIPT) -> list[tuple[dict, dict]]:
    """(case, report) pairs, compiled by `script` in one process that has the real compiler."""
    cases = list(cases)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(script)], input=json.dumps(cases), capture_output=True, text=True, check=False,
        cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return list(zip(cases, json.loads(done.stdout), strict=True))


def check(results: Iterable[tuple[dict, dict]]) -> None:
    """Every limit, with all offenders named."""
    offenders = []
    for case, report in results:
        wrong = {
            "spills": report["local"] > 0 or report["stack"] > MOST_STACK,
            "empty": report["stores"] == 0 or report["multiplications"] == 0,
            "weights through shared memory": report["trips"] > 0,
            "dependent launch": (report["dependent_launches"] > 0) != starts_early(case),
        }
        offenders += [(name, case, report) for name, is_wrong in wrong.items() if is_wrong]
    assert not offenders, "\n".join(map(str, offenders))


def starts_early(case: dict) -> bool:
    """Sorted rows wait for the tables that torch makes, so they start when those are there."""
    return case["capability"] >= 90 and not ("experts" in case and case["m"] > LARGEST_UNSORTED)


def test_decode_on_every_gpu():
    check(
        compile_all(
            {"capability": capability, "bits": bits, "group_size": group, "dtype": dtype, "m": m}
            for capability, (bits, group), (dtype, m) in itertools.product(
                CAPABILITIES, ((4, 64), (8, None), (3, 64)), (("float16", 1), ("bfloat16", 32))
            )
        )
    )


def test_the_smallest_tile():
    """One barrier adds the warps, and two programs of 8 warps fit on a multiprocessor.

    One trip through shared memory at the end, whatever layouts the compiler picks on the way.
    """
    cases = ((4, 64), (4, None), (8, None), (3, 64))
    tile = (1, 1, 8, 1, 0)
    results = compile_all({"capability": 90, "bits": b, "group_size": g, "tile": tile} for b, g in cases)
    assert [report["barriers"] for _, report in results] == [1] * len(cases)
    assert max(report["registers"] for _, report in results) <= 128


def test_as_many_programs_fit_as_a_tile_says():
    """With everything around the product, too: one register more, and they would run in two waves."""
    around = ({}, {"norm": True, "bias": True}, {"norm": True, "activation": "silu"}, {"residual": True})
    shapes = ((28672, 4096), (21504, 7168), (6144, 4096))
    cases = (
        {"capability": 90, "bits": bits, "dtype": "bfloat16", "n": n, "k": k} | extra
        for bits, (n, k), extra in itertools.product((8, 4, 3), shapes, around)
    )
    for case, report in compile_all(cases):
        paired = "activation" in case
        tile = choose_tile(case["bits"], 64, 1, case["n"], case["k"], gpu=Gpu(90), paired=paired)
        assert report["registers"] * 32 * tile.warps * (tile.programs or 2) <= 65536, (case, report)


def test_every_scheme():
    check(
        compile_all(
            {"capability": 90, "bits": bits, "group_size": group, "dtype": dtype, "m": m, "n": n}
            for (bits, group), (dtype, m, n) in itertools.product(
                SCHEMES, (("float16", 1, 28672), ("bfloat16", 1, 6144), ("float16", 16, 4096))
            )
        )
    )


def test_epilogues_and_prologues():
    around = (
        {"bias": True, "residual": True, "norm": True},
        {"activation": "silu", "bias": True, "norm": True},
        {"activation": "gelu_tanh", "residual": True},
        {"activation": "gelu", "m": 16},
    )
    check(compile_all({"capability": 90, "bits": bits} | extra for bits in (8, 4) for extra in around))


def test_experts():
    """Few routed rows of many experts, several for each, and so many that they are sorted."""
    shapes = (
        {"experts": 128, "m": 8, "activation": "silu"},
        {"experts": 128, "m": 8},
        {"experts": 8, "m": 64},
        {"experts": 8, "m": 1024},
    )
    check(
        compile_all(
            {"capability": capability, "bits": bits, "n": 1536, "k": 2048} | shape
            for (capability, bits), shape in itertools.product(((80, 4), (90, 8), (90, 3)), shapes)
        )
    )


def test_ragged_shapes_compile():
    ragged = {"capability": 90, "n": 100, "k": 1056, "group_size": 32}
    check(compile_all(ragged | {"bits": bits, "m": m} for bits in (8, 4, 3) for m in (1, 16)))


def test_other_tiles():
    """What a tuner may choose: more read ahead, an unrolled loop, two row tiles."""
    tiles = (
        (1, 1, 4, 2, 0, 1),
        (1, 1, 8, 1, 2, 1),
        (1, 1, 8, 1, 2, 1, 2),
        (1, 2, 4, 1, 0, 1),
        (2, 2, 4, 1, 0, 1),
    )
    reports = compile_all({"capability": 90, "m": 8 * tile[0], "tile": tile} for tile in tiles)
    assert all(report["stack"] + report["local"] + report["trips"] == 0 for _, report in reports)
