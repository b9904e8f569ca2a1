"""Without our import the same folder opens through compressed-tensors, and says what a session says."""

import pytest
import torch

from fqconsole.generation import open_session

IDS = torch.arange(2 * 24).reshape(2, 24) * 5 % 250 + 3


def through_compressed_tensors(folder, **options):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    with torch.no_grad():
        return model(IDS).logits.float()


def through_a_session(folder):
    with open_session(folder, device="cpu") as session:
        return session.logits(IDS)


def apart(found, expected):
    """‖found − expected‖ / ‖expected‖"""
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_logits_equal_to_one_in_a_hundred(checkpoint, name, bits):
    """Where two experts are equally good to a rounding of bf16, a token may take another one: one in 24."""
    folder = checkpoint(name, bits, torch.float32)
    found, expected = (
        through_a_session(folder).flatten(0, 1),
        through_compressed_tensors(folder).flatten(0, 1),
    )
    others = len(found) // 24 if "moe" in name else 0
    alike = (found - expected).norm(dim=-1).argsort()[: len(found) - others]
    assert apart(found[alike], expected[alike]) <= 1e-2


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_in_16_bits_a_session_is_as_near_to_the_exact_logits(checkpoint, name, bits):
    """There both round, each in its own places: what counts is how far that leads from float32."""
    folder = checkpoint(name, bits)
    exact = through_compressed_tensors(folder, dtype=torch.float32)
    theirs = apart(through_compressed_tensors(folder), exact)
    assert apart(through_a_session(folder), exact) <= 1.5 * theirs
