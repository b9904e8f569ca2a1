"""Measured logits are not rounded to 16 bits, and nothing is left behind."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from fqconsole.generation import wide_head as module
from fqconsole.generation.wide_head import float32_linear, wide_head
from tests.generation.architectures import tiny_config


@pytest.mark.parametrize("bias", [False, True])
def test_the_product_is_that_of_float64(monkeypatch, bias):
    monkeypatch.setattr(module, "ROWS", 7)  # several slices, the last one shorter
    x, weight = torch.randn(2, 3, 16).bfloat16(), torch.randn(40, 16).bfloat16()
    offset = torch.randn(40).bfloat16() if bias else None
    expected = x.double() @ weight.double().mT + (offset.double() if bias else 0)
    found = float32_linear(x, weight, offset)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])  # one with logit softcapping after the head, one tied
def test_logits_are_finer_inside_and_as_before_outside(family):
    model = AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.bfloat16).eval()
    ids = torch.arange(3, 20)[None]
    with torch.inference_mode():
        before = model(ids).logits
        with wide_head(model):
            inside = model(ids).logits
        after = model(ids).logits
    assert inside.dtype == torch.float32
    assert torch.equal(before, after)
    assert not torch.equal(inside, inside.bfloat16().float())
    assert (inside - before.float()).abs().max() < 2e-2 * before.abs().max()


def test_the_head_is_given_back_after_a_failure():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 5, dtype=torch.bfloat16)

        def get_output_embeddings(self):
            return self.head

    model = Model()
    with pytest.raises(ZeroDivisionError), wide_head(model):
        raise ZeroDivisionError
    assert model.head(torch.zeros(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
