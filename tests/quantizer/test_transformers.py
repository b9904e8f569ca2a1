"""Our checkpoints open unchanged in transformers and give the logits of our own dequantized weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from quantizer.engine import analyse, quantize
from quantizer.methods import methods_of
from quantizer.reader import open_checkpoint
from tests.quantizer.synthetic_models import describe, weights_of

pytestmark = pytest.mark.slow

SHARED = {"vocab_size": 256, "max_position_embeddings": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


def llama():
    """Grouped-query attention, widths that are no power of two, and one that no group divides."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=192, intermediate_size=340, num_key_value_heads=2, **SHARED)
    return LlamaForCausalLM(config)


def qwen3_moe():
    """Routed experts whose two widths share no group of 64."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(
        hidden_size=128, intermediate_size=256, moe_intermediate_size=96, num_key_value_heads=2, head_dim=32,
        num_experts=4, num_experts_per_tok=2, **SHARED,
    )  # fmt: skip
    return Qwen3MoeForCausalLM(config)


def opt():
    """Biases, learned positions, tied embeddings."""
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        hidden_size=128, word_embed_proj_dim=128, ffn_dim=256, do_layer_norm_before=True, **SHARED
    )
    return OPTForCausalLM(config)


@pytest.fixture(scope="module", params=[llama, qwen3_moe, opt], ids=lambda build: build.__name__)
def model_folder(request, tmp_path_factory):
    """A random model saved in several shards, with outliers in some matrices so that groups differ."""
    torch.manual_seed(0)
    model = request.param().bfloat16()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers.0.self_attn" in name and weight.dim() == 2:
                weight[:, 64:96] *= 8
    folder = tmp_path_factory.mktemp(request.param.__name__) / "model"
    model.save_pretrained(folder, max_shard_size="250KB")
    return folder


def logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.arange(2 * 24).reshape(2, 24) * 5 % 250
    with torch.no_grad():
        return model(ids).logits.float()


def dequantized_model(checkpoint: Path, folder: Path) -> Path:
    """A 16-bit model folder that holds what our reader makes of the checkpoint."""
    folder.mkdir()
    text = json.loads((checkpoint / "config.json").read_text())
    del text["quantization_config"]
    (folder / "config.json").write_text(json.dumps(text))  # a packed head is not tied any more
    with open_checkpoint(checkpoint) as opened:
        tensors = {name: tensor.contiguous() for name, tensor in opened.dequantized()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# Balanced channels need no finer groups: schemes are mixed without them.
@pytest.mark.parametrize(("bits", "mode"), [(8, "search"), (4, "search"), (3, "search"), (4, "best")])
def test_transformers_gives_the_logits_of_our_dequantized_weights(model_folder, tmp_path, bits, mode):
    description = describe(model_folder)
    plan = analyse(description, bits=bits, methods=methods_of(mode))
    assert mode == "best" or len({m.scheme for m in plan.matrices}) > 1
    quantize(description, plan, tmp_path / "out")
    stored = weights_of(tmp_path / "out")
    assert any((tensor < 0).any() for name, tensor in stored.items() if name.endswith(".weight_scale"))
    reference = dequantized_model(tmp_path / "out", tmp_path / "reference")
    expected = logits(reference)
    assert torch.allclose(logits(tmp_path / "out"), expected, atol=1e-3, rtol=0)
    moved = (expected - logits(model_folder)).abs().max()
    assert 0 < moved < 0.6 * expected.abs().max()


@pytest.mark.parametrize("head", [8, 4])
def test_a_packed_head_opens_in_transformers_and_in_a_session(model_folder, tmp_path, head):
    """OPT's is tied to the embedding."""
    from fqconsole.generation.loading import load_model
    from fqconsole.generation.scratch import Scratch

    description = describe(model_folder)
    quantize(description, analyse(description, bits=8, head=head), tmp_path / "out")
    assert "lm_head.weight_packed" in weights_of(tmp_path / "out")
    expected = logits(dequantized_model(tmp_path / "out", tmp_path / "reference"))
    assert torch.allclose(logits(tmp_path / "out"), expected, atol=1e-3, rtol=0)
    loaded = load_model(tmp_path / "out", torch.device("cpu"))
    assert type(loaded.decoder.head).__name__ == "Packed"
    ids = torch.arange(2 * 24).reshape(2, 24) * 5 % 250
    with torch.inference_mode():
        found = Scratch(loaded.decoder).logits(ids)
    off = (found - expected).abs().amax(-1) / expected.abs().max()
    assert off.median() < 1e-2  # activations are rounded to bf16 on the way
