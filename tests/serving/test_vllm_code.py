"""vLLM's own code reads our configs and picks the kernels that serve-command tells."""

import itertools
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
import torch

from fqconsole.models import describe, resolve_model
from fqconsole.serving.checkpoint import Joined
from fqconsole.serving.kernels import vllm_kernel
from fqconsole.serving.layout import Layout
from quantizer.base import base_plan
from quantizer.candidate_errors import measure_candidates
from quantizer.config import quantization_config
from quantizer.measured import KEPT
from quantizer.methods import MODES
from quantizer.planner import Planner
from quantizer.scheme import Scheme
from tests.generation.architectures import save_architecture

PROBE = Path(__file__).with_name("vllm_probe.py")
FAMILIES = (
    "llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "olmo2", "phi3", "mixtral", "qwen3_moe",
    "opt", "gpt_neox",
)  # fmt: skip
ALONE = Layout(1, 1, 1, 1, expert_parallel=False)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("FQCONSOLE_VLLM"),
        reason="vLLM's files are not here: docs/serve.md tells how to get them for FQCONSOLE_VLLM",
    ),
]


def asked(schemes, kernels):
    """What vLLM says."""
    questions = json.dumps({"schemes": schemes, "kernels": kernels})
    done = subprocess.run(
        [sys.executable, str(PROBE)],
        input=questions,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def modules_of(plan):
    """vLLM's name of each module that a plan quantizes, with its scheme."""
    sets = defaultdict(list)
    for matrix in plan.matrices:
        sets[matrix.fused_set].append(matrix)
    found = {}
    for matrices in sets.values():
        kinds = {matrix.kind for matrix in matrices}
        scheme = [matrices[0].scheme.bits, matrices[0].scheme.group_size]
        for matrix in matrices:
            place = matrix.name.rpartition(".")[0]
            if len(matrix.shape) == 3:
                found[f"{place}.0.{matrix.kind}"] = scheme
            elif {"q_proj", "k_proj", "v_proj"} <= kinds:
                found[f"{place}.qkv_proj"] = scheme
            elif {"gate_proj", "up_proj"} <= kinds:
                found[f"{place}.gate_up_proj"] = scheme
            else:
                found[matrix.name] = scheme
    return found


def test_vllm_reads_the_configs_of_many_families_as_they_were_planned(tmp_path):
    questions, expected = [], []
    for family in FAMILIES:
        folder = save_architecture(family, tmp_path / family, torch.float16)
        plan = base_plan(describe(resolve_model(str(folder))), 4, "fixed", 32)
        modules = modules_of(plan)
        assert modules, family
        questions.append({"config": quantization_config(plan), "modules": [*modules, "lm_head"]})
        expected.append({**modules, "lm_head": None})
    assert dict(zip(FAMILIES, asked(questions, [])["schemes"], strict=True)) == dict(
        zip(FAMILIES, expected, strict=True)
    )


def test_vllm_reads_experts_whose_layers_differ(tmp_path):
    folder = save_architecture("qwen3_moe", tmp_path / "moe", torch.float16)
    plan = base_plan(describe(resolve_model(str(folder))), 4, "fixed", 32, experts="layer")
    matrices = tuple(
        msgspec.structs.replace(m, scheme=Scheme(8, None)) if m.layer == 0 and len(m.shape) == 3 else m
        for m in plan.matrices
    )
    plan = msgspec.structs.replace(plan, matrices=matrices)
    modules = modules_of(plan)
    assert len({tuple(scheme) for name, scheme in modules.items() if ".experts." in name}) == 2
    measured = measure_candidates(describe(resolve_model(str(folder))), methods=MODES["fast"], device="cpu")
    planner = Planner(describe(resolve_model(str(folder))), measured, experts="layer")
    kept = planner.with_schemes(
        {
            matrix.name: KEPT if matrix.layer == 0 and len(matrix.shape) == 3 else Scheme(4, 32)
            for matrix in planner.draft.matrices
        },
        "test",
    )
    first = [matrix.name for matrix in planner.draft.matrices if matrix.layer == 0 and len(matrix.shape) == 3]
    expected = {f"{name.rpartition('.')[0]}.0.{name.rpartition('.')[2]}": None for name in first}
    assert len(expected) == 3
    expected |= modules_of(kept)
    questions = [
        {"config": quantization_config(each), "modules": list(names)}
        for each, names in ((plan, modules), (kept, expected))
    ]
    assert asked(questions, [])["schemes"] == [modules, expected]


def test_vllm_takes_the_kernels_that_we_tell():
    cases = [
        {
            "bits": bits, "group": group, "rows": rows, "columns": columns, "spread": spread, "half": half,
            "capability": capability,
        }
        for bits, group, (rows, columns), spread, half, capability in itertools.product(
            (3, 4, 8), (None, 16, 32, 64, 128, 256), ((256, 512), (96, 512), (4096, 1408), (1000, 256)),
            (1, 2), (False, True), (80, 89, 90, 100),
        )
        if group is None or columns * spread % group == 0
    ]  # fmt: skip
    ours = []
    for case in cases:
        layout = Layout(case["spread"], 1, case["spread"], 1, expert_parallel=False)
        part = Joined(
            "m",
            case["rows"],
            case["columns"] * case["spread"],
            Scheme(case["bits"], case["group"]),
            1,
            reads_spread=True,
        )
        ours.append(vllm_kernel(part, layout, case["capability"], half=case["half"]))
    theirs = asked([], cases)["kernels"]
    names = {"TritonW4A16": "Triton"}
    assert [
        (case, our, names.get(their, their))
        for case, our, their in zip(cases, ours, theirs, strict=True)
        if our != names.get(their, their)
    ] == []
