"""Families whose layers are stored, joined or read in a way of their own, among them those that
compressed-tensors does not open.
"""

import pytest
import torch
from safetensors import safe_open

from fqconsole.errors import OperatorError
from fqconsole.generation.loading import load_model
from quantizer.engine import analyse, quantize
from tests.generation.architectures import auto_class, save_architecture
from tests.quantizer.synthetic_models import describe

IDS = torch.arange(16).reshape(1, 16) * 5 % 250 + 3

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("registered")]


@pytest.fixture
def packed(tmp_path):
    def make(family):
        save_architecture(family, tmp_path / "source", torch.float32)
        description = describe(tmp_path / "source")
        quantize(description, analyse(description, bits=8, device="cpu"), tmp_path / "q", device="cpu")
        return tmp_path / "q"

    return make


def names_in(folder):
    return {
        name
        for file in folder.glob("*.safetensors")
        for name in safe_open(file, framework="pt").keys()  # noqa: SIM118
    }


@pytest.mark.parametrize(
    "family", ["gpt2", "falcon", "mamba", "mixtral", "gpt_oss", "granitemoe", "llama4_text", "qwen3_vl_moe"]
)
def test_a_family_gives_our_sessions_logits_and_is_saved_under_its_own_names(packed, tmp_path, family):
    folder = packed(family)
    model = auto_class(family).from_pretrained(folder)
    ours = load_model(folder, torch.device("cpu")).model
    with torch.no_grad():
        found, expected = (each(IDS).logits.float() for each in (model, ours))
    assert (found - expected).norm() <= 1e-2 * expected.norm()
    model.save_pretrained(tmp_path / "saved")
    assert names_in(tmp_path / "saved") == names_in(folder)


def test_a_layer_that_several_names_share_is_refused_and_not_made_up(packed):
    with pytest.raises(OperatorError, match="shared_transf"):
        auto_class("zamba").from_pretrained(packed("zamba"))
