"""How many weights a checkpoint stands for: packed ones counted as what they unpack to, tied heads once."""

import math
import re
from collections.abc import Mapping, Sequence

from fqconsole.models.description import QuantizationInfo, TensorInfo

# What is in checkpoints but is no weight: cached masks and rotary tables of old exports.
NOT_WEIGHTS = re.compile(r"(rotary_emb\.inv_freq|\.masked_bias|\.attn\.bias|rotary_pos_emb\.inv_freq)$")
# Side tensors of quantized matrices: scales, zero points, permutations, shapes.
SIDE_TENSORS = re.compile(
    r"(\.weight_scale|\.weight_scale_inv|\.weight_zero_point|\.weight_shape|\.weight_g_idx|\.weight_global_scale"
    r"|\.input_scale|\.qzeros|\.scales|\.g_idx|_scales|\.absmax|\.quant_map|\.nested_absmax|\.nested_quant_map"
    r"|\.quant_state\.[a-z0-9_]+|\.SCB|\.weight_format)$"
)
HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output_layer)\.weight(_packed)?$")
EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|embeddings|tok_embeddings|tok_embed)\.weight(_packed)?$"
)
WORD_BITS = 32


def has_own_head(tensors: Sequence[TensorInfo]) -> bool:
    """True when the checkpoint stores an output head beside the input embedding."""
    return any(HEAD.search(tensor.name) for tensor in tensors)


def count_parameters(
    tensors: Sequence[TensorInfo],
    quantization: QuantizationInfo | None,
    *,
    tied: bool,
) -> int:
    """Weights of the model that the checkpoint stands for."""
    by_name = {tensor.name: tensor for tensor in tensors}
    embedded = any(EMBEDDING.search(tensor.name) for tensor in tensors)
    total = 0
    for tensor in tensors:
        if tied and embedded and HEAD.search(tensor.name):
            continue
        total += _weights(tensor, by_name, quantization)
    return total


def _weights(
    tensor: TensorInfo,
    by_name: Mapping[str, TensorInfo],
    quantization: QuantizationInfo | None,
) -> int:
    name = tensor.name
    if NOT_WEIGHTS.search(name) and (name.endswith("inv_freq") or len(tensor.shape) != 1):
        return 0
    if quantization is None:
        return tensor.elements
    if SIDE_TENSORS.search(name):
        return 0
    if name.endswith(".weight_packed"):
        return _unpacked(tensor, by_name, quantization)
    if name.endswith(".qweight") and quantization.bits:
        return tensor.elements * WORD_BITS // quantization.bits
    if tensor.dtype == "U8" and (name.endswith("_blocks") or quantization.method == "bitsandbytes"):
        return tensor.elements * 2  # two 4-bit codes a byte
    return tensor.elements


def _unpacked(
    packed: TensorInfo,
    by_name: Mapping[str, TensorInfo],
    quantization: QuantizationInfo,
) -> int:
    if packed.unpacked:
        return math.prod(packed.unpacked)
    words = packed.shape[-1] if packed.shape else 0
    rows = packed.elements // words if words else 0
    scale = by_name.get(packed.name.removesuffix("_packed") + "_scale")
    groups = scale.shape[-1] if scale is not None and scale.shape else 1
    # K from whole groups where a known group size explains the row's length; else the row filled up.
    for bits in dict.fromkeys((quantization.bits, 8, 4, 3)):
        if bits <= 0:
            continue
        for group in quantization.group_sizes:
            if group is not None and groups > 1 and math.ceil(groups * group * bits / WORD_BITS) == words:
                return rows * groups * group
    return rows * (words * WORD_BITS // quantization.bits) if quantization.bits else packed.elements
