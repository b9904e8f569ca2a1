"""A 16-bit Llama of any size on disk, in shards of about a gigabyte: random weights, made without a model."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks._synthetic import SHAPES, STD
from quantizer.parts import StoredTensor
from quantizer.shards import build_header

SHARD_BYTES = 10**9
BLOCK_WEIGHTS = 1 << 24  # random ones, repeated: 32 MB
SMALL = 8e9  # bytes from which on the layers are those of an 8B model
SMALL_VOCABULARY = 32000  # keeps embeddings and head, which stay in 16 bits, at an 8B model's share


def write_checkpoint(folder: Path, gigabytes: float, *, layers: int | None = None) -> Path:
    """Llama layers of the 1B shape, from 8 GB on of the 8B shape, with embeddings and head, until
    `gigabytes` (10^9 bytes, bfloat16) are full, or so many `layers` of that model.
    """
    folder.mkdir(parents=True)
    config = dict(SHAPES["llama-8b"])
    if gigabytes * 1e9 < SMALL:
        config = dict(SHAPES["llama-1b"]) | {"vocab_size": SMALL_VOCABULARY}
    if layers is None:
        layers = 1
        while sum(tensor.bytes for tensor in _tensors(config, layers)) < gigabytes * 1e9:
            layers += 1
    block = (torch.randn(BLOCK_WEIGHTS, generator=torch.Generator().manual_seed(0)) * STD).bfloat16()
    data = memoryview(block.view(torch.uint8).numpy().tobytes())
    shards = _cut(list(_tensors(config, layers)))
    weight_map: dict[str, str] = {}
    for index, tensors in enumerate(shards):
        file = f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        with (folder / file).open("wb") as opened:
            opened.write(build_header(tensors)[0])
            left = sum(tensor.bytes for tensor in tensors)
            while left:
                left -= opened.write(data[: min(left, len(data))])
        weight_map |= {tensor.name: file for tensor in tensors}
    index_text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index_text)
    known = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
    text = json.dumps(config | known | {"num_hidden_layers": layers, "tie_word_embeddings": False})
    (folder / "config.json").write_text(text)
    return folder


def _tensors(config: dict[str, int], layers: int) -> Iterator[StoredTensor]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    yield _tensor("model.embed_tokens", config["vocab_size"], hidden)
    for layer in range(layers):
        place = f"model.layers.{layer}"
        for kind, rows in (("q_proj", hidden), ("k_proj", kv), ("v_proj", kv), ("o_proj", hidden)):
            yield _tensor(f"{place}.self_attn.{kind}", rows, hidden)
        yield _tensor(f"{place}.mlp.gate_proj", inner, hidden)
        yield _tensor(f"{place}.mlp.up_proj", inner, hidden)
        yield _tensor(f"{place}.mlp.down_proj", hidden, inner)
        yield _tensor(f"{place}.input_layernorm", hidden)
        yield _tensor(f"{place}.post_attention_layernorm", hidden)
    yield _tensor("model.norm", hidden)
    yield _tensor("lm_head", config["vocab_size"], hidden)


def _tensor(module: str, *shape: int) -> StoredTensor:
    size = 2
    for length in shape:
        size *= length
    return StoredTensor(f"{module}.weight", "BF16", shape, size)


def _cut(tensors: list[StoredTensor]) -> list[list[StoredTensor]]:
    shards: list[list[StoredTensor]] = [[]]
    held = 0
    for tensor in tensors:
        if shards[-1] and held + tensor.bytes > SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(tensor)
        held += tensor.bytes
    return shards
