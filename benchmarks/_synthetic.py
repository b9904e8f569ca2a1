"""Models of real shapes with random weights, made in place on a GPU: speed without a download."""

from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig

import kernels
from fqconsole.generation.decoding import DecodeInputs
from fqconsole.generation.modules import PackedLinear
from fqconsole.generation.skeleton import build_skeleton, compute_buffers
from kernels.packed_matrix import PackedMatrix
from quantizer.scheme import words_per_row

# Published config.json values.
SHAPES: dict[str, dict[str, Any]] = {
    "llama-8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
    },
    "llama-1b": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
        "rope_theta": 500000.0, "tie_word_embeddings": True,
    },
}  # fmt: skip
GROUP_SIZES = {8: None, 4: 64, 3: 64}  # the quantizer's bases
STD = 0.02


def synthetic_inputs(
    shape: dict[str, Any], bits: int | None, device: torch.device, context: int
) -> tuple[DecodeInputs, int, str]:
    """A Llama of that shape in `bits` (None: bf16), the bytes it holds, and its matmul path."""
    config = LlamaConfig(**shape)
    model: Any = build_skeleton(config, torch.bfloat16)
    compute_buffers(model, device)
    held = 0
    if bits is not None:
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and name != "lm_head":
                matrix = kernels.prepare(
                    _random_matrix(module.out_features, module.in_features, bits, device)
                )
                held += matrix.bytes
                model.set_submodule(
                    name, PackedLinear(matrix, None, None, dtype=torch.bfloat16, device=device)
                )
    for name, parameter in list(model.named_parameters()):
        parent, _, leaf = name.rpartition(".")
        value = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device)
        value = value.fill_(1.0) if parameter.dim() == 1 else value.normal_(std=STD)
        setattr(model.get_submodule(parent), leaf, nn.Parameter(value, requires_grad=False))
        held += value.nbytes
    model.tie_weights()
    inputs = DecodeInputs(model, device, context, frozenset(), lambda ids: "")
    return inputs, held, kernels.path_name(device, bits) if bits else "16-bit"


def _random_matrix(n: int, k: int, bits: int, device: torch.device) -> PackedMatrix:
    """Random bits are random codes; the scale gives weights of about the usual size."""
    codes = torch.randint(-(2**31), 2**31, (n, words_per_row(k, bits)), dtype=torch.int32, device=device)
    groups = k // (GROUP_SIZES[bits] or k)
    # Codes are uniform over 2^bits values, so their standard deviation is 2^bits / sqrt(12).
    scale = STD * 12**0.5 / 2**bits
    scales = torch.full((n, groups), scale, dtype=torch.bfloat16, device=device)
    return PackedMatrix(codes, scales, bits, GROUP_SIZES[bits], k)
