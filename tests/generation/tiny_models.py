"""Tiny random models in folders of their own: 16-bit, packed, and the packed ones' values written out in 16
bits.
"""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
)

from kernels.packing import pack_codes

TEXT = (
    "Mara gave the red lamp to Otto because the tower was dark. Otto thanked her and climbed the stairs. "
    "“Where is the key?” asked Mara. — “Here,” said Otto, and held up three keys: é, 😀, 千问. "
)
VOCAB = 384
END = "<end>"
START = "<start>"


def write_tokenizer(folder: Path, *, chat: bool = False, start: bool = False) -> None:
    """A byte-level BPE tokenizer that can spell any text; with `start` it puts a token before each text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[END, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, bos_token=START if start else None
    )
    if start:
        from tokenizers.processors import TemplateProcessing

        fast.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{START} $A", special_tokens=[(START, 1)]
        )
    if chat:
        fast.chat_template = (
            "{% for m in messages %}<start>{{ m.role }}: {{ m.content }}<end>{% endfor %}"
            "{% if add_generation_prompt %}<start>assistant:{% endif %}"
        )
    fast.save_pretrained(folder)


def _save(config, folder: Path, seed: int, dtype: torch.dtype) -> Path:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():  # the default initialisation is so small that every logit is about the same
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.mul_(3)
            elif name.endswith("bias"):
                weight.normal_(std=0.2)
    model.save_pretrained(folder)
    return folder


def save_llama(folder: Path, *, seed: int = 0, tied: bool = False, dtype=torch.bfloat16, **changes) -> Path:
    """Grouped-query attention, 2 layers."""
    settings = {
        "vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
        "tie_word_embeddings": tied, "eos_token_id": 0, "bos_token_id": 1,
    }  # fmt: skip
    return _save(LlamaConfig(**settings | changes), folder, seed, dtype)


def save_qwen3_moe(folder: Path, *, seed: int = 0, dtype=torch.bfloat16) -> Path:
    """Four experts, two a token, one dense layer before them."""
    config = Qwen3MoeConfig(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=128, moe_intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        num_experts=4, num_experts_per_tok=2,
        mlp_only_layers=[0], norm_topk_prob=True, max_position_embeddings=128, tie_word_embeddings=False,
        eos_token_id=0, bos_token_id=1,
    )  # fmt: skip
    return _save(config, folder, seed, dtype)


def save_opt(folder: Path, *, seed: int = 0, dtype=torch.bfloat16) -> Path:
    """Biases everywhere, learned positions, tied head."""
    config = OPTConfig(
        vocab_size=VOCAB, hidden_size=64, ffn_dim=128, num_hidden_layers=2, num_attention_heads=4,
        word_embed_proj_dim=64, max_position_embeddings=128, eos_token_id=0, bos_token_id=1, pad_token_id=2,
        dropout=0.0,
    )  # fmt: skip
    return _save(config, folder, seed, dtype)


def quantize(source: Path, packed: Path, plain: Path, *, bits: int, group_size: int | None) -> list[str]:
    """Write `source` packed into `packed`, and the same values as 16-bit weights into `plain`; returns the
    matrices.

    Nearest rounding, absmax scales: an independent, explicit writer of the checkpoint's layout.
    """
    for folder in (packed, plain):
        shutil.copytree(source, folder)
    tensors = load_file(source / "model.safetensors")
    stored, plain_tensors, names = {}, {}, []
    for name, weight in tensors.items():
        if not re.search(r"(proj|fc1|fc2)\.weight$", name):
            stored[name] = plain_tensors[name] = weight
            continue
        matrix = name.removesuffix(".weight")
        names.append(matrix)
        n, k = weight.shape
        grouped = weight.float().unflatten(-1, (-1, group_size or k))
        scales = (grouped.abs().amax(-1) / (2 ** (bits - 1) - 1)).to(weight.dtype)
        codes = (
            (grouped / scales.float().unsqueeze(-1)).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        stored[matrix + ".weight_packed"] = pack_codes(codes.flatten(-2).to(torch.int8), bits)
        stored[matrix + ".weight_scale"] = scales
        stored[matrix + ".weight_shape"] = torch.tensor([n, k])
        plain_tensors[name] = (codes * scales.float().unsqueeze(-1)).flatten(-2).to(weight.dtype)
    save_file(stored, packed / "model.safetensors", metadata={"format": "pt"})
    save_file(plain_tensors, plain / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((packed / "config.json").read_text())
    strategy = (
        {"strategy": "channel"} if group_size is None else {"strategy": "group", "group_size": group_size}
    )
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": names,
                "weights": {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False, **strategy},
            }
        },
    }
    (packed / "config.json").write_text(json.dumps(config))
    return names


def edit_tensors(folder: Path, change) -> None:
    """Rewrite the folder's only shard after `change(tensors)`."""
    file = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
