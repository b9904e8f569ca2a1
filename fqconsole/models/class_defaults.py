"""What a model class fills in when config.json leaves a field out.

Configs nested in a multimodal config.json omit what equals the class's default, and some families never write
their training length. Only fields that the description needs; checked against the config classes of
transformers by tests/models/test_class_defaults.py.
"""

from collections.abc import Mapping
from typing import Any

CLASS_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
    },
    "gemma3n_text": {"num_kv_shared_layers": 15},
    "gemma2": {"head_dim": 256, "sliding_window": 4096},
    "gemma": {"head_dim": 256},
    "cohere2": {"sliding_window_pattern": 4},
    "llama4_text": {"attention_chunk_size": 8192},
    "qwen3_next": {"full_attention_interval": 4},
    "gpt2": {"n_positions": 1024},
    "bloom": {"max_position_embeddings": 2048},
    "recurrent_gemma": {"max_position_embeddings": 8192, "attention_window_size": 2048},
    "mamba": {"max_position_embeddings": 2048},
    "mamba2": {"max_position_embeddings": 2048},
    "falcon_mamba": {"max_position_embeddings": 8192},
    "falcon": {"max_position_embeddings": 2048, "multi_query": True},
    "gpt_bigcode": {"multi_query": True},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
}
