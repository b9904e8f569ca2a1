"""The output head as one more matrix: its own, or packed beside the embedding that it is tied to."""

import json

import pytest
import torch

from fqconsole.errors import UsageError
from quantizer.base import base_plan
from quantizer.config import quantization_config
from quantizer.engine import analyse, quantize
from quantizer.export.exporting import export
from quantizer.head import head_beside
from quantizer.manifest import read_manifest
from quantizer.plan import model_bits_per_weight, plan_bits_per_weight, quantized_share
from quantizer.reader import open_checkpoint
from quantizer.scheme import Scheme
from quantizer.verification import verify
from tests.quantizer.synthetic_models import describe, llama_config, llama_tensors, save_model, weights_of

VOCABULARY, HIDDEN = 96, 64


@pytest.fixture(params=["own", "tied"])
def source(request, tmp_path):
    tensors, config = llama_tensors(), llama_config()
    if request.param == "tied":
        del tensors["lm_head.weight"]
        config["tie_word_embeddings"] = True
    return save_model(tmp_path / "model", tensors, config)


def head_of(plan):
    (head,) = (matrix for matrix in plan.matrices if matrix.layer is None)
    return head


def test_a_head_has_bits_of_its_own(source):
    description = describe(source)
    plan = base_plan(description, 8, head=4)
    head = head_of(plan)
    assert (head.name, head.shape, head.scheme) == ("lm_head", (VOCABULARY, HIDDEN), Scheme(4, 64))
    assert {matrix.scheme.bits for matrix in plan.matrices if matrix is not head} == {8}
    targets = quantization_config(plan)["config_groups"].values()
    assert [group["weights"]["num_bits"] for group in targets if "lm_head" in group["targets"]] == [4]
    assert "lm_head" not in quantization_config(plan)["ignore"]
    assert "lm_head" in quantization_config(base_plan(description, 8))["ignore"]


def test_a_tied_head_counts_in_the_bytes_and_not_twice_in_the_weights(source):
    description = describe(source)
    plain, plan = base_plan(description, 4), base_plan(description, 4, head=8)
    weights = sum(tensor.elements for tensor in description.tensors)
    kept = {tensor.name for tensor in plan.kept}
    assert "model.embed_tokens.weight" in kept
    assert "lm_head.weight" not in kept
    stored = head_of(plan).bytes - (0 if description.tied_embeddings else VOCABULARY * HIDDEN * 2)
    added = (model_bits_per_weight(plan) - model_bits_per_weight(plain)) * weights / 8
    assert added == pytest.approx(stored)
    assert plan_bits_per_weight(plan) > plan_bits_per_weight(plain)
    share = quantized_share(plan) - quantized_share(plain)
    assert share == pytest.approx(0 if description.tied_embeddings else VOCABULARY * HIDDEN / weights)


def test_what_is_written_is_the_head_rounded(source, tmp_path):
    description = describe(source)
    out = tmp_path / "out"
    summary = quantize(description, analyse(description, bits=4, head=8), out)
    config = json.loads((out / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    before = weights_of(source)
    name = "lm_head.weight" if "lm_head.weight" in before else "model.embed_tokens.weight"
    with open_checkpoint(out) as opened:
        dequantized = dict(opened.dequantized(torch.float32))
    error = (dequantized["lm_head.weight"] - before[name].float()).norm() / before[name].float().norm()
    assert 0 < error < 0.01
    assert torch.equal(dequantized["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert read_manifest(out).plan.head == 8
    assert summary.bytes == sum(tensor.nbytes for tensor in weights_of(out).values())
    assert verify(out, every=True, source=source).sound
    exported = export(out, tmp_path / "dense", to="16bit").path
    assert set(weights_of(exported)) == set(before) | {"lm_head.weight"}
    assert json.loads((exported / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_plan_without_a_head_keeps_what_the_source_ties(source, tmp_path):
    description = describe(source)
    quantize(description, analyse(description, bits=4), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] is description.tied_embeddings


def test_a_width_or_a_model_that_can_not_be_is_refused_in_a_sentence(source, tmp_path):
    with pytest.raises(UsageError, match=r"The output head can't have 5 bits\. Choose 16, 8, 4\."):
        base_plan(describe(source), 4, head=5)
    tensors = llama_tensors()
    del tensors["lm_head.weight"]
    headless = save_model(tmp_path / "headless", tensors, llama_config())
    with pytest.raises(UsageError, match="has no output head that can be quantized"):
        base_plan(describe(headless), 4, head=4)


@pytest.mark.parametrize(
    ("embedding", "head"),
    [
        ("model.embed_tokens.weight", "lm_head"),
        ("transformer.wte.weight", "lm_head"),
        ("model.language_model.embed_tokens.weight", "lm_head"),
        ("language_model.model.embed_tokens.weight", "language_model.lm_head"),
    ],
)
def test_a_tied_head_stands_where_transformers_has_it(embedding, head):
    assert head_beside(embedding) == head
