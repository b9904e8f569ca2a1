"""The KV cache of real models, by hand; and that it only grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.fit.kv import growth_bytes, layer_bytes, summary
from fqconsole.models.attention import read_attention
from fqconsole.models.config import Config
from fqconsole.models.description import LayerAttention

MIB = 1 << 20

# Each: the fields of the family's config.json, layers, context, batch, and the cache in bytes by hand.
BY_HAND = {
    # 2 tensors · 32 layers · 8 heads · 128 · 8192 tokens · 2 B
    "Llama-3-8B": (
        {"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096},
        32, 8192, 1, 2 * 32 * 8 * 128 * 8192 * 2,
    ),
    # no groups: 96 heads of 128
    "OPT-175B": ({"num_attention_heads": 96, "hidden_size": 12288}, 96, 2048, 1, 9 << 30),
    # one head for all
    "Falcon-7B": (
        {"model_type": "falcon", "num_attention_heads": 71, "hidden_size": 4544, "multi_query": True},
        32, 2048, 4, 4 * 2 * 32 * 64 * 2048 * 2,
    ),
    # every layer keeps 4096 tokens of 32768
    "Mistral-7B-v0.1": (
        {"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "sliding_window": 4096},
        32, 32768, 1, 2 * 32 * 8 * 128 * 4096 * 2,
    ),
    # 62 layers, each sixth (10 of them) sees everything, the others 1024 tokens
    "gemma-3-27b": (
        {"text_config": {"model_type": "gemma3_text", "hidden_size": 5376, "num_attention_heads": 32,
                         "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024}},
        62, 16384, 1, 2 * 16 * 128 * 2 * (10 * 16384 + 52 * 1024),
    ),
    # 36 layers, every second one slides with 128 tokens
    "gpt-oss-120b": (
        {"model_type": "gpt_oss", "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
         "hidden_size": 2880, "sliding_window": 128},
        36, 8192, 1, 2 * 8 * 64 * 2 * (18 * 8192 + 18 * 128),
    ),
    # 48 layers, three of four see a chunk of 8192
    "Llama-4-Scout": (
        {"text_config": {"model_type": "llama4_text", "num_attention_heads": 40, "num_key_value_heads": 8,
                         "head_dim": 128, "hidden_size": 5120, "attention_chunk_size": 8192}},
        48, 32768, 1, 2 * 8 * 128 * 2 * (12 * 32768 + 36 * 8192),
    ),
    # the latent of 512 and the rotary key of 64, once for all heads
    "DeepSeek-V3": (
        {"num_attention_heads": 128, "num_key_value_heads": 128, "hidden_size": 7168, "kv_lora_rank": 512,
         "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128},
        61, 8192, 1, 61 * 576 * 8192 * 2,
    ),
    # four attention layers of 32; the 28 mamba layers keep 8192 · (16 + 4) elements in float32
    "Jamba-v0.1": (
        {"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "attn_layer_period": 8,
         "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2},
        32, 65536, 1, 4 * 2 * 8 * 128 * 65536 * 2 + 28 * 8192 * 20 * 4,
    ),
    # twelve full layers of 48; the others keep 32 matrices of 128 × 128 and a convolution window of 4
    "Qwen3-Next-80B": (
        {"model_type": "qwen3_next", "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
         "hidden_size": 2048, "linear_num_value_heads": 32, "linear_num_key_heads": 16,
         "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4},
        48, 8192, 2, 2 * (12 * 2 * 2 * 256 * 8192 * 2 + 36 * (32 * 128 * 128 + 8192 * 4) * 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    fields, layers, context, batch, expected = BY_HAND[name]
    attention = read_attention(Config(fields), layers)
    assert sum(layer_bytes(layer, context, batch, 2) for layer in attention) == expected


kinds = st.builds(
    LayerAttention,
    kind=st.sampled_from(["full", "sliding", "chunked", "mla", "linear"]),
    kv_heads=st.integers(0, 16),
    head_dim=st.integers(0, 64),
    value_head_dim=st.integers(0, 64),
    window=st.none() | st.integers(1, 300),
    latent_dim=st.none() | st.integers(1, 600),
    state_elements=st.integers(0, 1000),
)


@given(kinds, st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 8), st.sampled_from([2, 4]))
def test_it_grows_with_context_and_is_proportional_to_batch(layer, one, two, batch, width):
    less, more = sorted((one, two))
    assert layer_bytes(layer, less, batch, width) <= layer_bytes(layer, more, batch, width)
    assert layer_bytes(layer, less, batch, width) == batch * layer_bytes(layer, less, 1, width)
    assert growth_bytes([layer], less, batch, width) <= layer_bytes(layer, less, batch, width)


def test_the_summary_counts_kinds():
    full, sliding = LayerAttention("full", 8, 128, 128), LayerAttention("sliding", 8, 128, 128, window=1024)
    none, latent = LayerAttention("linear", 0, 0, 0), LayerAttention("mla", 128, 192, 128, latent_dim=576)
    assert summary([full, sliding, sliding]) == (
        "2 sliding layers window 1,024, 8 kv heads × 128, 1 full layer, 8 kv heads × 128"
    )
    assert summary([none, latent]) == "1 layer without a cache, 1 mla layer of 576"
