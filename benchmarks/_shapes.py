"""Published config.json values of models that benchmarks fill with random weights."""

from typing import Any

TINY = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 1000, "head_dim": 64}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "llama-3-8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    },
    "qwen3-8b": {
        "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    },
    "mistral-7b": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32768, "sliding_window": None,
    },
    "gemma-3-12b": {
        "model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 262208,
        "sliding_window": 1024, "sliding_window_pattern": 6,
    },
    "qwen3-30b-a3b": {
        "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
        "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
    },
    "opt-30b": {
        "model_type": "opt", "hidden_size": 7168, "ffn_dim": 28672, "num_hidden_layers": 48,
        "num_attention_heads": 56, "word_embed_proj_dim": 7168, "vocab_size": 50272,
        "max_position_embeddings": 2048, "dtype": "float16",
    },
    "opt-66b": {
        "model_type": "opt", "hidden_size": 9216, "ffn_dim": 36864, "num_hidden_layers": 64,
        "num_attention_heads": 72, "word_embed_proj_dim": 9216, "vocab_size": 50272,
        "max_position_embeddings": 2048, "dtype": "float16",
    },
    "opt-175b": {
        "model_type": "opt", "hidden_size": 12288, "ffn_dim": 49152, "num_hidden_layers": 96,
        "num_attention_heads": 96, "word_embed_proj_dim": 12288, "vocab_size": 50272,
        "max_position_embeddings": 2048, "dtype": "float16",
    },
    "llama-3-70b": {
        "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
    },
    "llama-3.2-1b": {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
}  # fmt: skip
LONGEST = 40960


def config_of(name: str, tiny: bool) -> dict[str, Any]:
    """The config of one shape; `tiny` keeps its kind and takes its size."""
    fields = {"max_position_embeddings": LONGEST, "dtype": "bfloat16", **SHAPES[name]}
    if tiny:
        fields |= {key: size for key, size in TINY.items() if key in fields}
        if name.startswith("qwen3-30b"):
            fields |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 96}
        if name.startswith("opt"):
            fields |= {"ffn_dim": 512, "word_embed_proj_dim": 256}
    return fields
