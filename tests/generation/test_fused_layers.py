"""What a GPU's layers leave to one launch, norm before a product and residual after it, in its plain form."""

from dataclasses import replace

import pytest
import torch

import kernels
from fqconsole.generation.assembly import _in_a_row
from fqconsole.generation.loading import load_model
from fqconsole.generation.passes import Chunk, Pass
from fqconsole.generation.projections import Packed
from fqconsole.generation.static_cache import StaticCache

CPU = torch.device("cpu")
IDS = torch.randint(3, 384, (20,), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "opt"])
def test_they_give_what_one_step_after_the_other_gives(tiny, name):
    decoder = load_model(tiny(name)[1], CPU).decoder
    assert all(isinstance(layer.attention.first, Packed) for layer in decoder.layers)  # q, k and v are one
    fused = replace(decoder, layers=tuple(replace(layer, fused=True) for layer in decoder.layers))
    with torch.inference_mode():
        expected, found = (logits(each) for each in (decoder, fused))
    assert (found - expected).abs().max() < 2e-2 * expected.abs().max()  # bf16 is rounded in other places


def logits(decoder):
    cache = StaticCache(decoder, 1, 32)
    tokens = Pass.of_chunks((Chunk(0, 0, 16),), cache.rotary, CPU)
    found = [decoder.logits(decoder.hidden(IDS[:16], tokens, cache.layers))]
    for position in range(16, 20):
        tokens = Pass.of_step(torch.tensor([position]), cache.rotary)
        found.append(decoder.logits(decoder.hidden(IDS[position, None], tokens, cache.layers)))
    return torch.cat(found).float()


@pytest.mark.usefixtures("as_stored")
def test_a_product_takes_the_norm_and_the_residual_where_one_launch_does_it(tiny, monkeypatch):
    """And the norm after it, but the last one, whose product is the head's."""
    asked = []
    call, add = Packed.__call__, Packed.add

    def record(self, x, *, residual=None, activation=None, norm=None):
        asked.append((norm is not None, residual is not None, activation))
        return call(self, x, residual=residual, activation=activation, norm=norm)

    def record_sum(self, x, residual, following):
        asked.append(following.weight)
        return add(self, x, residual, following)

    decoder = load_model(tiny("llama")[1], CPU).decoder
    fused = replace(decoder, layers=_in_a_row([replace(layer, fused=True) for layer in decoder.layers]))
    monkeypatch.setattr(Packed, "__call__", record)
    monkeypatch.setattr(Packed, "add", record_sum)
    with torch.inference_mode():
        cache = StaticCache(fused, 1, 8)
        fused.hidden(IDS[:1], Pass.of_step(torch.tensor([0]), cache.rotary), cache.layers)
    expected = []
    for layer, after in zip(fused.layers, [*fused.layers[1:], None], strict=True):
        end = (False, True, None) if after is None else after.before_attention.weight
        expected += [(True, False, None), layer.before_feed.weight, (True, False, "silu"), end]
    for found, wanted in zip(asked, expected, strict=True):
        assert found is wanted or (isinstance(found, tuple) and found == wanted)


def test_experts_are_two_calls_that_know_which_rows_of_a_token_go_where(tiny, monkeypatch):
    """Gate and up in one, with the gate's activation; a token's row is not repeated for its experts."""
    asked = []
    call = kernels.expert_linear

    def record(x, stack, expert, *, activation=None):
        asked.append((tuple(x.shape), tuple(expert.shape), activation))
        return call(x, stack, expert, activation=activation)

    decoder = load_model(tiny("qwen3_moe")[1], CPU).decoder
    monkeypatch.setattr(kernels, "expert_linear", record)
    with torch.inference_mode():
        cache = StaticCache(decoder, 3, 8)
        decoder.hidden(IDS[:3], Pass.of_step(torch.tensor([0, 0, 0]), cache.rotary), cache.layers)
    assert asked == [((3, 64), (3, 2), "silu"), ((6, 64), (6,), None)]  # one layer has experts
