"""Which channels may be rescaled without changing what a model computes, and where the inverse goes.

norm → matrices that read it      q, k, v after the first norm of a layer; gate, up and routers after the
second v_proj rows → o_proj columns      attention only mixes tokens; query heads that share a value head
share factors up_proj rows → down_proj columns  the gate multiplies channel by channel: down (act(gate) · up)

That holds for architectures of a known structure alone: one whose norm stands elsewhere, or is read by
something more, would be broken. So the structures are listed by model type, each with a test against
transformers, and a layer with a weight that its structure does not know is left as it is.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from fqconsole.models.description import ModelDescription, TensorInfo
from quantizer.plan import ChannelSet, KeptTensor, MatrixPlan

ATTENTION = r"self_attn\.(q|k|v|qkv|q_a)_proj|self_attn\.kv_a_proj_with_mqa"
MLP = (
    r"(mlp|block_sparse_moe)\.((shared_experts?\.)?(gate|up|gate_up)_proj|gate|shared_expert_gate"
    r"|experts\.(\d+\.)?(gate_proj|up_proj|gate_up_proj|w1|w3))"
)
# Matrices that read something else than the layer's two norms.
OTHERS = (
    r"self_attn\.(o|q_b|kv_b)_proj|(mlp|block_sparse_moe)\.((shared_experts?\.)?down_proj"
    r"|experts\.(\d+\.)?(down_proj|w2))"
)


class Structure(msgspec.Struct, frozen=True):
    """Where the norms of a layer stand; `offset`: they multiply by offset + weight."""

    attention_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"
    offset: float = 0.0
    rows: bool = True  # values and the products of gate and up pass nothing but the gate on their way


PRE_NORM = Structure()
STRUCTURES: dict[str, Structure] = {
    **dict.fromkeys(
        (
            "llama", "mistral", "ministral", "qwen2", "qwen3", "phi3", "granite", "smollm3", "seed_oss",
            "helium", "glm", "mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v3",
        ),
        PRE_NORM,
    ),
    "olmoe": Structure(rows=False),  # may clamp its values
    "gemma": Structure(offset=1.0),
    "gemma2": Structure(mlp_norm="pre_feedforward_layernorm", offset=1.0),
    "gemma3_text": Structure(mlp_norm="pre_feedforward_layernorm", offset=1.0),
}  # fmt: skip

_LAYER = re.compile(r"^(?P<layer>(?:.*\.)?layers\.\d+)\.(?P<rest>.+)$")


def find_channels(
    description: ModelDescription, matrices: Sequence[MatrixPlan], kept: Sequence[KeptTensor]
) -> tuple[ChannelSet, ...]:
    """The channel sets of a model, none balanced yet; empty for an architecture that is not listed."""
    structure = STRUCTURES.get(description.model_type)
    if structure is None:
        return ()
    layers: dict[str, dict[str, TensorInfo]] = defaultdict(dict)
    for tensor in description.tensors:
        found = _LAYER.match(tensor.name)
        if found:
            layers[found["layer"]][found["rest"].removesuffix(".weight")] = tensor
    owners: dict[str, list[MatrixPlan]] = defaultdict(list)
    for matrix in matrices:
        for name in matrix.tensors:
            owners[name].append(matrix)
    in_16_bits = {tensor.name for tensor in kept}
    sets: list[ChannelSet] = []
    for tensors in layers.values():
        if _is_known(tensors):
            sets += _of_norms(tensors, structure, owners, in_16_bits)
            if structure.rows:
                sets += _of_rows(tensors, description, owners)
    return tuple(sets)


def _is_known(tensors: Mapping[str, TensorInfo]) -> bool:
    known = re.compile(f"{ATTENTION}|{MLP}|{OTHERS}")
    return all(len(tensor.shape) < 2 or known.fullmatch(rest) for rest, tensor in tensors.items())


def _of_norms(
    tensors: Mapping[str, TensorInfo],
    structure: Structure,
    owners: Mapping[str, Sequence[MatrixPlan]],
    kept: set[str],
) -> Iterator[ChannelSet]:
    for norm, pattern in ((structure.attention_norm, ATTENTION), (structure.mlp_norm, MLP)):
        weight = tensors.get(norm)
        if weight is None or f"{norm}.bias" in tensors or weight.name not in kept:
            continue
        read = [t for rest, t in tensors.items() if len(t.shape) > 1 and re.fullmatch(pattern, rest)]
        readers = list(dict.fromkeys(matrix.name for t in read for matrix in owners.get(t.name, ())))
        others = [t for t in read if t.name not in owners]
        width = weight.shape[0]
        if readers and all(t.name in kept and t.shape[-1] == width for t in others):
            yield ChannelSet(
                producer=weight.name,
                readers=tuple(readers),
                kept_readers=tuple(t.name for t in others),
                offset=structure.offset,
            )


def _of_rows(
    tensors: Mapping[str, TensorInfo],
    description: ModelDescription,
    owners: Mapping[str, Sequence[MatrixPlan]],
) -> Iterator[ChannelSet]:
    pairs = [("self_attn.v_proj", "self_attn.o_proj")]
    pairs += [
        (f"mlp.{place}up_proj", f"mlp.{place}down_proj")
        for place in ("", "shared_expert.", "shared_experts.")
    ]
    for rising, falling in pairs:
        if rising not in tensors or falling not in tensors:
            continue
        above, below = (owners.get(tensors[rest].name, ()) for rest in (rising, falling))
        if len(above) != 1 or len(below) != 1:
            continue
        rows, columns = above[0].shape[0], below[0].shape[-1]
        bias = tensors.get(f"{rising}.bias")
        made = ChannelSet(
            producer=above[0].name,
            readers=(below[0].name,),
            of_rows=True,
            bias=bias.name if bias is not None else None,
        )
        if rising.endswith("v_proj"):
            head = columns // description.heads if description.heads else 0
            if not head or columns % rows or rows % head or columns != head * description.heads:
                continue
            yield msgspec.structs.replace(made, head=head, repeat=columns // rows)
        elif rows == columns:
            yield made
