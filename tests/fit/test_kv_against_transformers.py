"""The formula against the caches that transformers itself fills, for tiny models of many families."""

import json

import pytest

from fqconsole.fit.kv import layer_bytes
from fqconsole.models.attention import read_attention
from fqconsole.models.config import Config

TINY = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 99, "max_position_embeddings": 512, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LATENT = {
    "kv_lora_rank": 24, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 12,
    "num_key_value_heads": 4,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 4, "moe_intermediate_size": 32, "n_group": 1, "topk_group": 1,
          "num_experts_per_tok": 2}  # fmt: skip
OLD = {"num_key_value_heads": 4}  # families without groups
FAMILIES = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 2},
    "qwen3": {"head_dim": 32},
    "mistral": {"sliding_window": 32},
    "mixtral": EXPERTS,
    "gemma2": {"sliding_window": 32, "head_dim": 16},
    "gemma3_text": {"sliding_window": 32, "num_hidden_layers": 7, "head_dim": 16},
    "gpt_oss": {"sliding_window": 32, "num_local_experts": 4, "head_dim": 16},
    "cohere2": {"sliding_window": 32},
    "exaone4": {"sliding_window": 32, "sliding_window_pattern": 4},
    "llama4_text": {"attention_chunk_size": 32, "num_local_experts": 2, "intermediate_size_mlp": 96,
                    "head_dim": 16},
    "deepseek_v2": {**LATENT, **ROUTED},
    "deepseek_v3": {**LATENT, **ROUTED},
    "minicpm3": LATENT,
    "qwen3_moe": EXPERTS,
    "qwen3_next": {**EXPERTS, "shared_expert_intermediate_size": 32, "linear_num_value_heads": 4,
                   "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4, "num_experts": 2},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "attn_layer_indices": [1, 3]},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16},
    "nemotron_h": {"hybrid_override_pattern": "M*-M", "mamba_num_heads": 8, "mamba_head_dim": 16,
                   "ssm_state_size": 16, "n_groups": 2, "head_dim": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "gpt2": {**OLD, "n_embd": 64, "n_layer": 4, "n_head": 4},
    "opt": {**OLD, "ffn_dim": 96, "word_embed_proj_dim": 64},
    "gpt_neox": OLD,
    "bloom": {**OLD, "n_layer": 4, "n_head": 4},
    "gpt_bigcode": {"n_embd": 64, "n_layer": 4, "n_head": 4},
    "falcon": {},
}  # fmt: skip
TOKENS, BATCH = 70, 2


@pytest.mark.slow
@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_cache_is_as_large_as_computed(model_type):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.set_num_threads(2)
    config = transformers.CONFIG_MAPPING[model_type](**{**TINY, **FAMILIES[model_type]})
    written = json.loads(config.to_json_string())
    attention = read_attention(Config(written), config.num_hidden_layers)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    cache = transformers.DynamicCache(config=config)
    with torch.no_grad():
        model(torch.full((BATCH, TOKENS), 3), past_key_values=cache, use_cache=True)
    for layer, held in zip(attention, cache.layers, strict=True):
        # A sliding layer stores one token less than its window: the newest one is added when it is used.
        tokens = TOKENS if layer.window is None else min(TOKENS, layer.window - 1)
        assert layer_bytes(layer, tokens, BATCH, 4) == stored_bytes(torch, held)
        assert layer_bytes(layer, TOKENS, BATCH, 4) >= stored_bytes(torch, held)


def stored_bytes(torch, layer):
    """Bytes of the float tensors that one layer of a cache holds, in lists and dicts too."""
    found = 0
    for value in vars(layer).values():
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, torch.Tensor) and item.is_floating_point():
                found += item.numel() * item.element_size()
    return found
