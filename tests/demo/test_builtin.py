"""The models that ship: small enough, of the promised shapes, and what is said of them is so."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fqconsole.demo import builtin_models, heldout_text, materialize
from fqconsole.models.safetensors_header import read_header

SHIPPED = ("demo", "demo-moe")


@pytest.fixture(scope="module")
def tokens():
    """The beginning of the held-out text, int64 `[1, 512]`."""
    tokenizer = AutoTokenizer.from_pretrained(materialize("demo"))
    return tokenizer(heldout_text(10), return_tensors="pt")["input_ids"][:, :512]


def logits_of(model_id, tokens):
    model = AutoModelForCausalLM.from_pretrained(materialize(model_id)).eval()
    with torch.inference_mode():
        return model(tokens).logits.float()


@pytest.mark.parametrize("model_id", SHIPPED)
def test_weights_are_small_and_inner_dimensions_divide(model_id):
    weights = materialize(model_id) / "model.safetensors"
    assert weights.stat().st_size <= 14_000_000
    for tensor in read_header(weights):
        assert tensor.dtype == "BF16"
        if len(tensor.shape) == 2:
            assert tensor.shape[-1] % 64 == 0


@pytest.mark.parametrize("model_id", SHIPPED)
def test_held_out_text_is_as_expected_as_the_card_says(model_id, tokens):
    card = json.loads((materialize(model_id) / "training.json").read_text())
    logits = logits_of(model_id, tokens)
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:])
    assert math.exp(loss) == pytest.approx(card["perplexity"], rel=0.15)  # 512 tokens, without story marks


def test_the_experts_are_a_mixture():
    config = json.loads((materialize("demo-moe") / "config.json").read_text())
    assert config["architectures"] == ["Qwen3MoeForCausalLM"]
    assert (config["num_experts"], config["num_experts_per_tok"]) == (8, 2)


@pytest.mark.parametrize("model_id", ["demo-outliers", "demo-outliers-scattered"])
def test_outliers_change_nothing_in_16_bits(model_id, tokens):
    assert torch.equal(logits_of(model_id, tokens), logits_of("demo", tokens))


def test_every_model_has_a_prompt_to_begin_with():
    assert all(model.suggested_prompt and model.summary for model in builtin_models())
