"""Experts whose layers differ: a session and our import open them, transformers alone fails."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from fqconsole.generation import open_session
from quantizer.candidate_errors import measure_candidates
from quantizer.engine import quantize
from quantizer.manifest import read_manifest
from quantizer.measured import KEPT
from quantizer.methods import MODES
from quantizer.planner import Planner
from quantizer.reader import open_checkpoint
from quantizer.scheme import Scheme
from tests.generation.architectures import save_architecture
from tests.generation.tiny_models import write_tokenizer
from tests.quantizer.synthetic_models import describe

IDS = torch.arange(2 * 24).reshape(2, 24) * 5 % 90 + 3
# int8 for int4 is what transformers would take without a word.
MIXES = {"bits": (Scheme(4, 32), Scheme(8, 32)), "kept": (Scheme(3, None), KEPT)}


def through_transformers(folder):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        return model(IDS).logits.float()


def apart(found, expected):
    """Of the median token: activations are rounded to 16 bits, and that sends one in fifty elsewhere."""
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).median())


def refuses(folder, expected):
    """It fails, or, as transformers 5.17 with kept layers, makes up weights that its report calls missing."""
    try:
        return apart(through_transformers(folder), expected) > 0.5
    except RuntimeError:
        return True


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral"])
def test_who_opens_experts_whose_layers_differ(name, mix, tmp_path, request):
    source = save_architecture(name, tmp_path / "source", torch.float32)
    write_tokenizer(source)
    description = describe(source)
    measured = measure_candidates(description, methods=MODES["fast"], device="cpu")
    planner = Planner(description, measured, experts="layer")
    plan = planner.with_schemes(
        {
            m.name: MIXES[mix][m.layer] if len(m.shape) == 3 else Scheme(8, None)
            for m in planner.draft.matrices
        },
        "test",
    )
    out = tmp_path / "out"
    quantize(description, plan, out, device="cpu")
    assert len(read_manifest(out).refused_by_transformers) == 1
    assert read_manifest(out).refused_by_engines == ()

    reference = tmp_path / "reference"
    reference.mkdir()
    shutil.copy(source / "config.json", reference)
    with open_checkpoint(out) as opened:
        tensors = {key: tensor.contiguous() for key, tensor in opened.dequantized()}
    save_file(tensors, reference / "model.safetensors", metadata={"format": "pt"})
    expected = through_transformers(reference)

    with open_session(out, device="cpu") as session:
        assert apart(session.logits(IDS), expected) <= 1e-2
    assert refuses(out, expected)
    request.getfixturevalue("registered")
    assert apart(through_transformers(out), expected) <= 1e-2
