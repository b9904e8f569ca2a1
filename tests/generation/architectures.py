"""A tiny random model of every architecture that is tried: about 64 wide, two layers deep, made from its
config class.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from tests.generation.tiny_models import VOCAB

LINEAR_AND_FULL = ["linear_attention", "full_attention"]
SLIDING_AND_FULL = ["sliding_attention", "full_attention"]

# Settings under all their names: a config class gets those that it has.
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 64, "d_model": 64, "n_embd": 64,
    "intermediate_size": 96, "ffn_dim": 96, "ffn_hidden_size": 96, "dff": 96, "intermediate_size_mlp": 96,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "global_head_dim": 16, "word_embed_proj_dim": 64,
    "rotary_dim": 8, "max_position_embeddings": 512, "n_positions": 512, "max_seq_len": 512,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    # experts
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2, "moe_topk": 2, "moe_intermediate_size": 32, "expert_ffn_hidden_size": 32,
    "shared_expert_intermediate_size": 32, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "zero_expert_num": 2,
    # state space and linear attention
    "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_d_ssm": 128, "mamba_n_groups": 1,
    "mamba_dt_rank": 8, "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1,
    "state_size": 8, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}  # fmt: skip
LATENT = {
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16,
    "num_key_value_heads": 4,
}  # fmt: skip
ROTARY = {"rope_type": "default", "rope_theta": 10000.0}

# model_type → what it needs besides.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    # dense
    "llama": {}, "mistral": {}, "ministral3": {}, "qwen2": {}, "qwen3": {}, "gemma": {}, "gemma2": {},
    "gemma3_text": {}, "phi": {}, "phi3": {}, "olmo": {}, "olmo2": {}, "olmo3": {}, "glm": {}, "glm4": {},
    "cohere": {}, "cohere2": {}, "granite": {}, "smollm3": {}, "starcoder2": {}, "stablelm": {},
    "nemotron": {}, "exaone4": {}, "helium": {}, "arcee": {}, "seed_oss": {}, "ernie4_5": {},
    "hunyuan_v1_dense": {}, "persimmon": {}, "nanochat": {}, "diffllama": {}, "bitnet": {},
    "minicpm3": LATENT,
    "opt": {}, "gpt2": {}, "openai-gpt": {}, "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gpt_neox": {}, "gptj": {}, "gpt_bigcode": {}, "codegen": {}, "bloom": {}, "mpt": {}, "falcon": {},
    "xglm": {},
    "gemma3n_text": {
        "num_hidden_layers": 4, "num_kv_shared_layers": 2, "layer_types": SLIDING_AND_FULL * 2,
        "vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 16, "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0] * 4, "intermediate_size": [96] * 4,
    },
    "gemma4_text": {
        "vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 16,
        "layer_types": SLIDING_AND_FULL,
    },
    # experts
    "mixtral": {}, "qwen2_moe": {}, "qwen3_moe": {}, "olmoe": {}, "phimoe": {}, "gpt_oss": {},
    "deepseek_v2": LATENT, "deepseek_v3": LATENT, "deepseek_v32": LATENT, "glm4_moe": {}, "dots1": {},
    "glm4_moe_lite": LATENT, "granitemoe": {}, "minimax_m2": {}, "hunyuan_v1_moe": {}, "flex_olmo": {},
    "ernie4_5_moe": {}, "llama4_text": {"interleave_moe_layer_step": 1}, "aria_text": {}, "afmoe": {},
    "jetmoe": {}, "longcat_flash": LATENT, "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {
            "hidden_size": 64, "ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2,
            "ffn_act_fn": {"name": "silu"},
        },
    },
    # hybrids
    "qwen3_next": {"layer_types": LINEAR_AND_FULL}, "qwen3_5_text": {"layer_types": LINEAR_AND_FULL},
    "qwen3_5_moe_text": {"layer_types": LINEAR_AND_FULL}, "minimax": {"layer_types": LINEAR_AND_FULL},
    "olmo_hybrid": {"layer_types": LINEAR_AND_FULL}, "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
    "bamba": {"attn_layer_indices": [1]}, "falcon_h1": {"mamba_expand": 2},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "nemotron_h": {"layers_block_type": ["mamba", "moe", "attention", "moe"], "num_hidden_layers": 4},
    "zamba": {
        "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "n_mamba_heads": 2,
        "num_key_value_heads": 4, "attention_head_dim": 32,
    },
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 4, "adapter_rank": 8},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "mamba": {}, "mamba2": {"num_heads": 8}, "falcon_mamba": {},
}  # fmt: skip

# Models that see images too: what their text part needs besides. The tower stays in 16 bits.
IMAGE_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gemma3": {}, "mistral3": {}, "llava": {}, "llama4": {"interleave_moe_layer_step": 1},
    "qwen2_5_vl": {"rope_parameters": ROTARY | {"mrope_section": [2, 3, 3]}},
    "qwen3_vl_moe": {"rope_parameters": ROTARY | {"mrope_section": [2, 3, 3]}},
    "qwen3_5_moe": {"layer_types": LINEAR_AND_FULL},
}  # fmt: skip
TOWER = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14, "depth": 1, "num_heads": 2, "out_hidden_size": 64,
    "num_position_embeddings": 16, "deepstack_visual_indexes": [], "projector_input_dim": 32,
    "projector_output_dim": 32, "vision_output_dim": 32,
}  # fmt: skip


def tiny_config(model_type: str) -> Any:
    """The config of a tiny model."""
    blank = AutoConfig.for_model(model_type)
    if model_type not in IMAGE_ARCHITECTURES:
        return AutoConfig.for_model(model_type, **_known(blank, SIZES) | ARCHITECTURES[model_type])
    text, tower = blank.get_text_config(), blank.vision_config
    return AutoConfig.for_model(
        model_type,
        text_config=_known(text, SIZES) | IMAGE_ARCHITECTURES[model_type] | {"model_type": text.model_type},
        vision_config=_known(tower, TOWER) | {"model_type": tower.model_type},
    )


def auto_class(model_type: str) -> Any:
    """The class of transformers that opens a whole checkpoint of this architecture."""
    return AutoModelForImageTextToText if model_type in IMAGE_ARCHITECTURES else AutoModelForCausalLM


def _known(config: Any, sizes: dict[str, Any]) -> dict[str, Any]:
    known = {*config.to_dict(), *type(config).attribute_map}
    return {name: size for name, size in sizes.items() if name in known}


def save_architecture(model_type: str, folder: Path, dtype: torch.dtype) -> Path:
    """A tiny model with weights large enough for its logits to differ."""
    config = tiny_config(model_type)
    torch.manual_seed(0)
    model = auto_class(model_type).from_config(config, dtype=dtype)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.mul_(3)
            elif name.endswith("bias"):
                weight.normal_(std=0.2)
    model.save_pretrained(folder)
    return folder
