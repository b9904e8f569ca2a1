"""Small models made of plain tensors: what a test needs of a model without building one in transformers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fqconsole.models.describe import describe_folder
from fqconsole.models.description import ModelDescription

Edit = Callable[[dict[str, Tensor]], None]


def llama_tensors(
    layers: int = 2,
    hidden: int = 64,
    inner: int = 128,
    vocab: int = 96,
    *,
    seed: int = 0,
    dtype=torch.bfloat16,
) -> dict[str, Tensor]:
    """The tensors of a Llama with two KV heads of four, Gaussian."""
    make = torch.Generator().manual_seed(seed)

    def weight(rows: int, columns: int) -> Tensor:
        return (torch.randn(rows, columns, generator=make) * 0.05).to(dtype)

    tensors = {
        "model.embed_tokens.weight": weight(vocab, hidden),
        "lm_head.weight": weight(vocab, hidden),
        "model.norm.weight": torch.ones(hidden, dtype=dtype),
    }
    for layer in range(layers):
        place = f"model.layers.{layer}"
        tensors |= {
            f"{place}.input_layernorm.weight": torch.ones(hidden, dtype=dtype),
            f"{place}.post_attention_layernorm.weight": torch.ones(hidden, dtype=dtype),
            f"{place}.self_attn.q_proj.weight": weight(hidden, hidden),
            f"{place}.self_attn.k_proj.weight": weight(hidden // 2, hidden),
            f"{place}.self_attn.v_proj.weight": weight(hidden // 2, hidden),
            f"{place}.self_attn.o_proj.weight": weight(hidden, hidden),
            f"{place}.mlp.gate_proj.weight": weight(inner, hidden),
            f"{place}.mlp.up_proj.weight": weight(inner, hidden),
            f"{place}.mlp.down_proj.weight": weight(hidden, inner),
        }
    return tensors


def llama_config(layers: int = 2, hidden: int = 64, inner: int = 128, vocab: int = 96) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocab,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
    }


def save_model(folder: Path, tensors: Mapping[str, Tensor], config: dict, *, shards: int = 1) -> Path:
    """A model folder: shards (with an index), config.json, a tokenizer and a licence."""
    folder.mkdir(parents=True)
    names = sorted(tensors)
    size = -(-len(names) // shards)
    files = {}
    for index in range(shards):
        held = names[index * size : (index + 1) * size]
        file = "model.safetensors" if shards == 1 else f"model-{index + 1:05d}-of-{shards:05d}.safetensors"
        save_file(
            {name: tensors[name].contiguous() for name in held}, folder / file, metadata={"format": "pt"}
        )
        files |= dict.fromkeys(held, file)
    if shards > 1:
        index_text = json.dumps({"metadata": {}, "weight_map": files})
        (folder / "model.safetensors.index.json").write_text(index_text)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "generation_config.json").write_text("{}")
    (folder / "LICENSE").write_text("Apache-2.0")
    (folder / "modeling_own.py").write_text("raise SystemExit")
    return folder


def save_llama(folder: Path, *, shards: int = 1, edit: Edit | None = None, **shape) -> ModelDescription:
    """A saved Llama and its description; `edit` changes the tensors before they are saved."""
    tensors = llama_tensors(**shape)
    if edit is not None:
        edit(tensors)
    sizes = {name: shape[name] for name in ("layers", "hidden", "inner", "vocab") if name in shape}
    save_model(folder, tensors, llama_config(**sizes), shards=shards)
    return describe(folder)


def weights_of(folder: Path) -> dict[str, Tensor]:
    """Every tensor that lies in a folder's safetensors files."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def describe(folder: Path) -> ModelDescription:
    return describe_folder(folder, id=f"test/{folder.name}", source="folder")


def fused_moe_tensors(experts: int = 3, hidden: int = 64, inner: int = 32) -> dict[str, Tensor]:
    """Two layers of fused 3-D experts in the default layout, a router and a shared expert."""
    make = torch.Generator().manual_seed(7)

    def weight(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=make) * 0.05).bfloat16()

    tensors = {"model.embed_tokens.weight": weight(96, hidden)}
    for layer in range(2):
        place = f"model.layers.{layer}.mlp"
        tensors |= {
            f"{place}.experts.gate_up_proj": weight(experts, 2 * inner, hidden),
            f"{place}.experts.down_proj": weight(experts, hidden, inner),
            f"{place}.gate.weight": weight(experts, hidden),
            f"{place}.shared_expert.gate_proj.weight": weight(inner, hidden),
            f"{place}.shared_expert.up_proj.weight": weight(inner, hidden),
            f"{place}.shared_expert.down_proj.weight": weight(hidden, inner),
            f"{place}.shared_expert_gate.weight": weight(1, hidden),
        }
    return tensors


def moe_config(experts: int = 3, hidden: int = 64, inner: int = 32) -> dict:
    return llama_config(hidden=hidden, inner=inner) | {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_experts": experts,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": inner,
    }
