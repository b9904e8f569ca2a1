"""What a pass through our own forward takes on a GPU, followed on the meta device at real sizes: the preview
agrees. The kernels' wrappers are stood in for by what they allocate.
"""

from dataclasses import replace

import pytest
import torch
from transformers import CONFIG_MAPPING

import kernels
from benchmarks._random_model import model_of
from benchmarks._shapes import config_of
from fqconsole.fit import named_gpu, preview
from fqconsole.fit.scratch import STREAMS, WORKSPACE
from fqconsole.generation import attention, stream
from fqconsole.generation.assembly import assemble
from fqconsole.generation.batch import BatchSteps
from fqconsole.generation.projections import Packed
from fqconsole.generation.static_cache import StaticCache
from kernels.epilogue import multiply_with
from kernels.prefill import SLICE_ROWS
from kernels.prepared import PreparedMatrix
from tests.generation.live_bytes import LiveBytes

META = torch.device("meta")
LATENT = {
    "model_type": "deepseek_v3", "hidden_size": 2048, "intermediate_size": 10944, "num_attention_heads": 16,
    "num_key_value_heads": 16, "kv_lora_rank": 512, "q_lora_rank": None, "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128, "v_head_dim": 128, "vocab_size": 102400, "first_k_dense_replace": 3,
    "max_position_embeddings": 32768, "dtype": "bfloat16",
}  # fmt: skip


class Slices(PreparedMatrix):
    """A packed matrix as `kernels.prefill` multiplies with it."""

    path, bytes = "triton", 0

    def __init__(self, n, k):
        self.n, self.k = n, k

    def multiply_with(self, x, epilogue):
        return multiply_with(self.multiply, x, epilogue)

    def multiply(self, x, bias):
        of_weights = x.new_empty((min(SLICE_ROWS, self.n), self.k))
        del bias
        out = x.new_empty((x.shape[0], self.n))
        del of_weights
        return out

    def multiply_by_expert(self, x, expert):
        raise NotImplementedError


def rotated(qkv, cos, sin, positions, cache, *, heads, **_):
    return qkv.new_empty((qkv.shape[0], heads, cache.keys.shape[3]))


def attended(q, cache, *_, **__):
    return q.new_empty((*q.shape[:2], cache.value_dim))


def attended_rows(q, keys, values, first, **_):
    return q.new_empty((*q.shape[:2], values.shape[-1]))


def normed(x, weight, bias=None, *, eps, kind="rms", residual=None, before=None):
    total = x if residual is None and before is None else torch.empty_like(x)
    return (total if weight is None and kind != "layer" else torch.empty_like(x)), total


def routed(logits, k, **_):
    return logits.new_empty((len(logits), k), dtype=torch.int32), logits.new_empty((len(logits), k))


@pytest.fixture
def on_a_gpu(monkeypatch):
    """The forward's calls as they allocate there; nothing computes."""
    for name, call in {
        "rotate_and_store": rotated, "rotate_and_store_latent": lambda *_, **__: None, "attend": attended,
        "attend_prompt": attended, "attend_rows": attended_rows, "_copy": lambda *_: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(attention, name, call)
    monkeypatch.setattr(stream, "norm", normed)
    monkeypatch.setattr(kernels, "route", routed)


def on_slices(projection):
    n, k = projection.weight.shape
    return Packed(Slices(n, k), projection.bias, None, n)


def packed(decoder):
    layers = []
    for layer in decoder.layers:
        parts = layer.attention, layer.feed
        made = (replace(p, first=on_slices(p.first), last=on_slices(p.last)) for p in parts)
        layers.append(replace(layer, attention=next(made), feed=next(made), fused=True))
    return replace(decoder, layers=tuple(layers))


@pytest.mark.parametrize(
    ("name", "bits", "context", "batch"),
    [
        ("llama-3-8b", 16, 8192, 1), ("llama-3-8b", 4, 8192, 1), ("llama-3-8b", 4, 512, 16),
        ("llama-3-8b", 4, 512, 1), ("gemma-3-12b", 16, 8192, 1), ("gemma-3-12b", 4, 2048, 4),
        ("opt-30b", 16, 2048, 1), ("opt-30b", 4, 2048, 4), ("qwen3-30b-a3b", 16, 2048, 1),
        ("latent", 16, 8192, 1), ("latent", 4, 4096, 1),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("on_a_gpu")
def test_prompts_take_what_is_previewed(name, bits, context, batch):
    fields = LATENT if name == "latent" else config_of(name, tiny=False)
    fields = {**fields, "num_hidden_layers": 6 if name.startswith("gemma") else 3}
    description, model = model_of(CONFIG_MAPPING[fields["model_type"]].from_dict(fields))
    here = named_gpu("h200-141gb")
    (option,) = preview(
        description, here, bits=(bits,), gpu_counts=(1,), context=context, batch=batch
    ).options
    decoder = assemble(model, torch.bfloat16, META)
    if bits == 16:
        decoder = replace(decoder, layers=tuple(replace(layer, fused=True) for layer in decoder.layers))
    else:
        decoder = packed(decoder)
    with torch.inference_mode():
        with LiveBytes(META) as state:
            cache = StaticCache(decoder, batch, context)
        assert option.kv_bytes == cache.bytes
        steps = BatchSteps(decoder, cache)
        with LiveBytes(META) as live:
            steps.prompts([[0] * (context - 1)] * batch, lambda: False)
    taken = live.peak + state.now - cache.bytes  # with the tables of angles
    assert 0.999 * taken <= option.activation_bytes - STREAMS * WORKSPACE <= 1.15 * taken
