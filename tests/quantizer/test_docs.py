"""The pages of this room say what the code does: the documented reader reads, the documented words occur."""

import re
import runpy
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from quantizer.engine import analyse, quantize
from quantizer.ladder import RangeProfile, adaptive_rungs, base_group, choose_group
from quantizer.reader import open_checkpoint
from quantizer.scheme import Scheme
from tests.quantizer.synthetic_models import (
    describe,
    fused_moe_tensors,
    llama_config,
    moe_config,
    save_model,
)

DOCS = Path(__file__).parents[2] / "docs"


def documented_reader(place):
    """`read_checkpoint` as docs/checkpoint.md prints it."""
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "checkpoint.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    (place / "reader.py").write_text(code)
    return runpy.run_path(str(place / "reader.py"))["read_checkpoint"]


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_the_documented_reader_reads_what_ours_reads(tmp_path, bits):
    save_model(tmp_path / "moe", fused_moe_tensors(hidden=96, inner=48), moe_config(hidden=96, inner=48))
    description = describe(tmp_path / "moe")
    quantize(description, analyse(description, bits=bits), tmp_path / "out")
    found = documented_reader(tmp_path)(tmp_path / "out")
    with open_checkpoint(tmp_path / "out") as checkpoint:
        expected = dict(checkpoint.dequantized(torch.float32))
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor.float().numpy())


def test_the_documented_reader_reads_transposed_sources_and_mixed_bits(tmp_path):
    place = "transformer.h.0.mlp"
    tensors = {
        f"{place}.c_fc.weight": torch.randn(64, 96).bfloat16(), f"{place}.c_fc.bias": torch.zeros(96),
        f"{place}.c_proj.weight": torch.randn(96, 64).bfloat16(), f"{place}.c_proj.bias": torch.zeros(64),
    }  # fmt: skip
    save_model(tmp_path / "gpt2", tensors, llama_config())
    description = describe(tmp_path / "gpt2")
    plan = analyse(description, bits=4)
    first, *others = plan.matrices
    first = msgspec.structs.replace(first, scheme=Scheme(3, first.scheme.group_size))
    quantize(description, msgspec.structs.replace(plan, matrices=(first, *others)), tmp_path / "out")
    found = documented_reader(tmp_path)(tmp_path / "out")
    with open_checkpoint(tmp_path / "out") as checkpoint:
        assert {matrix.scheme.bits for matrix in checkpoint.matrices.values()} == {3, 4}
        for name, tensor in checkpoint.dequantized(torch.float32):
            assert np.array_equal(found[name], tensor.float().numpy())
    assert found[f"{place}.c_fc.weight"].shape == (96, 64)
    error = np.abs(found[f"{place}.c_proj.weight"] - tensors[f"{place}.c_proj.weight"].float().numpy().T)
    assert error.mean() < 0.2  # another matrix would be 1.1 away


def test_the_documented_reasons_are_the_rules_own_words():
    page = (DOCS / "method.md").read_text()
    rungs = adaptive_rungs(4, 64)
    quiet = RangeProfile(1024, 1, {"channel": 1, "64": 1.0, "32": 0.83, "256": 1, "128": 1})
    loud = RangeProfile(1024, 1, {"channel": 1, "64": 1.0, "32": 0.31, "256": 1, "128": 1})
    odd = RangeProfile(96, 1, {"channel": 1, "32": 0.83})
    ragged = RangeProfile(172, 1, {"channel": 1})
    for profile in (quiet, loud, odd, ragged):
        assert f"- `{choose_group([profile], 64, rungs, 0.7).reason}`" in page


def test_the_documented_bases_and_ladder_are_the_codes_own():
    page = (DOCS / "method.md").read_text()
    assert [base_group(bits) for bits in (8, 4, 3)] == [None, 64, 64]
    assert "`channel` for int8, groups of 64 for int4 and int3" in page
    assert "channel → " + " → ".join(map(str, adaptive_rungs(4, 64))) in page
    assert adaptive_rungs(3, 64)[-1] == 16
