"""Model folders made for tests: real safetensors files of chosen shapes, zeros inside, any config.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fqconsole.models.safetensors_header import DTYPE_BITS

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
Shapes = Mapping[str, tuple[str, Sequence[int]]]


def llama_shapes(layers: int = 2, hidden: int = 64, inner: int = 128, vocab: int = 96) -> dict[str, Any]:
    shapes: dict[str, Any] = {
        "model.embed_tokens.weight": ("BF16", (vocab, hidden)),
        "model.norm.weight": ("BF16", (hidden,)),
        "lm_head.weight": ("BF16", (vocab, hidden)),
    }
    for layer in range(layers):
        place = f"model.layers.{layer}."
        shapes[place + "input_layernorm.weight"] = ("BF16", (hidden,))
        shapes[place + "post_attention_layernorm.weight"] = ("BF16", (hidden,))
        shapes[place + "self_attn.q_proj.weight"] = ("BF16", (hidden, hidden))
        shapes[place + "self_attn.k_proj.weight"] = ("BF16", (hidden // 2, hidden))
        shapes[place + "self_attn.v_proj.weight"] = ("BF16", (hidden // 2, hidden))
        shapes[place + "self_attn.o_proj.weight"] = ("BF16", (hidden, hidden))
        shapes[place + "mlp.gate_proj.weight"] = ("BF16", (inner, hidden))
        shapes[place + "mlp.up_proj.weight"] = ("BF16", (inner, hidden))
        shapes[place + "mlp.down_proj.weight"] = ("BF16", (hidden, inner))
    return shapes


def safetensors_bytes(shapes: Shapes, values: Mapping[str, bytes] | None = None) -> bytes:
    """A whole safetensors file: zeros, or `values` where they are given."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, shape) in shapes.items():
        count = DTYPE_BITS[dtype] // 8
        for size in shape:
            count *= size
        held = (values or {}).get(name, bytes(count))
        assert len(held) == count
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + count]}
        data += held
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def write_model(
    folder: Path, config: Mapping[str, Any] | None = None, shapes: Shapes | None = None, shards: int = 1
) -> Path:
    """A folder with config.json and weights in `shards` files (with an index where there are several)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA if config is None else config))
    shapes = llama_shapes() if shapes is None else shapes
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors_bytes(shapes))
        return folder
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: shape for place, (name, shape) in enumerate(shapes.items()) if place % shards == number}
        weight_map.update(dict.fromkeys(part, file))
        (folder / file).write_bytes(safetensors_bytes(part))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
