"""Which tensors of a model are matrices, which are kept and why: decided by rule from names and shapes alone.

A matrix is a 2-D floating-point `*.weight` inside a numbered layer. Kept are: everything outside the
numbered layers (embeddings, lm_head), embeddings and heads inside them, routers and gates, norms, biases,
convolutions, towers that are not the language model, and weights stored transposed as `[K, N]` (GPT-2's
Conv1D). Routed experts become one stack `[E, N, K]` per layer and projection, whether they lie on disk as
one 2-D tensor per expert or as fused 3-D tensors in the layout `gate_up_proj [E, 2I, H]`, `down_proj [E, H,
I]`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from fqconsole.models.description import ModelDescription, TensorInfo
from quantizer.plan import KeptTensor

WEIGHT = ".weight"
FLOATS = frozenset({"BF16", "F16", "F32"})
EXPERTS_SET = "experts"

# Projections that engines run as one matrix, by role: the members of a row share a scheme when they share
# a parent.
FUSED_ROLES: tuple[tuple[str, frozenset[str]], ...] = (
    ("qkv", frozenset({"q_proj", "k_proj", "v_proj"})),
    ("qkv", frozenset({"query", "key", "value"})),
    ("qkv", frozenset({"wq", "wk", "wv"})),
    ("qkv_a", frozenset({"q_a_proj", "kv_a_proj_with_mqa"})),
    ("in_proj_qkvz", frozenset({"in_proj_qkv", "in_proj_z"})),
    ("in_proj_ba", frozenset({"in_proj_b", "in_proj_a"})),
    ("gate_up", frozenset({"gate_proj", "up_proj"})),
    ("gate_up", frozenset({"w1", "w3"})),
    ("gate_up", frozenset({"wi_0", "wi_1"})),
)

_EXPERT = re.compile(r"^(?P<experts>(?:.*\.)?experts)\.(?P<index>\d+)\.(?P<kind>.+)\.weight$")
_FUSED_EXPERTS = re.compile(r"^(?P<experts>(?:.*\.)?experts)\.(?P<kind>gate_up_proj|down_proj)(?:\.weight)?$")
_ROUTER = re.compile(r"(?:.*_)?(?:gate|router|gating)")
_EMBEDDING = re.compile(r".*emb(?:ed.*|s)?|wte|wpe")
_HEAD = re.compile(r"(?:.*_)?head|embed_out")
_TOWER = re.compile(r"(?:vision|visual|audio|image|speech).*")
_NORM = re.compile(r".*norm.*|.*ln(?:_.*)?|ln\d*")


class Candidate(msgspec.Struct, frozen=True):
    """A matrix `[N, K]` or a stack of experts `[E, N, K]` before a scheme is chosen for it."""

    name: str
    tensors: tuple[str, ...]
    shape: tuple[int, ...]
    layer: int | None
    kind: str
    fused_set: str
    first_row: int = 0


class Inventory(msgspec.Struct, frozen=True):
    """Every tensor of a model, sorted into matrices and what is kept."""

    matrices: tuple[Candidate, ...]
    kept: tuple[KeptTensor, ...]


def plan_matrices(description: ModelDescription) -> Inventory:
    """Sort a model's tensors into matrices (with their fused sets) and kept tensors (with the reason)."""
    tensors = {tensor.name: tensor for tensor in description.tensors}
    transposed = _transposed_kinds(tensors)
    kept: list[KeptTensor] = []
    single: list[Candidate] = []
    experts: dict[tuple[str, str], dict[int, TensorInfo]] = defaultdict(dict)
    fused: dict[str, dict[str, TensorInfo]] = defaultdict(dict)
    for tensor in description.tensors:
        reason = _kept_reason(tensor, transposed)
        expert, stack = _EXPERT.match(tensor.name), _FUSED_EXPERTS.match(tensor.name)
        if stack is not None and len(tensor.shape) == 3 and tensor.dtype in FLOATS:
            fused[stack["experts"]][stack["kind"]] = tensor
        elif reason:
            kept.append(_keep(tensor, reason))
        elif expert is not None:
            experts[expert["experts"], expert["kind"]][int(expert["index"])] = tensor
        else:
            single.append(_single(tensor))
    stacks = [c for (place, kind), members in experts.items() for c in _stack(place, kind, members)]
    for place, pair in fused.items():
        unfused = _unfuse(place, pair)
        stacks.extend(unfused)
        if not unfused:
            kept.extend(_keep(tensor, "fused experts of another layout") for tensor in pair.values())
    order = {tensor.name: place for place, tensor in enumerate(description.tensors)}
    matrices = sorted(single + stacks, key=lambda c: (order[c.tensors[0]], c.first_row))
    return Inventory(tuple(matrices), tuple(sorted(kept, key=lambda k: order[k.name])))


def layer_of(name: str) -> int | None:
    """The first number among the parts of a tensor's name; None outside the numbered layers."""
    return next((int(part) for part in name.split(".") if part.isdecimal()), None)


def _kept_reason(tensor: TensorInfo, transposed: frozenset[str]) -> str:
    """Why a tensor is kept, or an empty word for a matrix."""
    parts = tensor.name.split(".")
    if parts[-1] != "weight":
        return "bias" if "bias" in parts[-1] else f"parameter {parts[-1]}"
    module = parts[-2] if len(parts) > 1 else ""
    if len(tensor.shape) == 1:
        return "norm" if _NORM.fullmatch(module) else "vector"
    if any("conv" in part for part in parts[:-1]):
        return "convolution"
    if len(tensor.shape) != 2:
        return f"{len(tensor.shape)}-D tensor"
    if tensor.dtype not in FLOATS:
        return f"stored as {tensor.dtype}"
    if _HEAD.fullmatch(module):
        return "lm_head"
    if _EMBEDDING.fullmatch(module) or "bias" in module:
        return "embedding"
    if layer_of(tensor.name) is None:
        return "outside the layers"
    if any(_TOWER.fullmatch(part) for part in parts):
        return "not the language model"
    if any(_ROUTER.fullmatch(part) for part in parts[:-1]):
        return "router"
    if 1 in tensor.shape:
        return "a single row or column"
    if module in transposed:
        return "stored transposed (Conv1D)"
    return ""


def _transposed_kinds(tensors: Mapping[str, TensorInfo]) -> frozenset[str]:
    """Kinds of modules stored as [K, N]: the bias is as long as the second dimension and not as the first.

    A square weight does not tell; it counts as transposed when another module of its kind is.
    """
    found = set()
    for name, tensor in tensors.items():
        bias = tensors.get(name.removesuffix(WEIGHT) + ".bias")
        if name.endswith(WEIGHT) and len(tensor.shape) == 2 and bias is not None and len(bias.shape) == 1:
            rows, columns = tensor.shape
            if bias.shape[0] == columns != rows:
                found.add(name.split(".")[-2])
    return frozenset(found)


def _keep(tensor: TensorInfo, reason: str) -> KeptTensor:
    return KeptTensor(tensor.name, tensor.shape, tensor.bytes, reason)


def _single(tensor: TensorInfo) -> Candidate:
    name = tensor.name.removesuffix(WEIGHT)
    parent, _, kind = name.rpartition(".")
    role = next((role for role, members in FUSED_ROLES if kind in members), None)
    fused_set = f"{parent}.{role}" if role else name
    return Candidate(name, (tensor.name,), tensor.shape, layer_of(name), kind, fused_set)


def _stack(place: str, kind: str, members: Mapping[int, TensorInfo]) -> Iterable[Candidate]:
    """One stack where the experts are numbered from 0 and of one shape, else every expert on its own."""
    layer = layer_of(place)
    shapes = {tensor.shape for tensor in members.values()}
    if len(shapes) == 1 and sorted(members) == list(range(len(members))):
        names = tuple(members[index].name for index in range(len(members)))
        shape = (len(members), *next(iter(shapes)))
        yield Candidate(f"{place}.{kind}", names, shape, layer, kind, EXPERTS_SET)
        return
    for tensor in members.values():
        name = tensor.name.removesuffix(WEIGHT)
        yield Candidate(name, (tensor.name,), tensor.shape, layer, kind, EXPERTS_SET)


def _unfuse(place: str, pair: Mapping[str, TensorInfo]) -> list[Candidate]:
    """Stacks cut out of `gate_up_proj [E, 2I, H]` and `down_proj [E, H, I]`; empty for any other layout."""
    gate_up, down = pair.get("gate_up_proj"), pair.get("down_proj")
    if gate_up is None or down is None:
        return []
    count, rows, hidden = gate_up.shape
    inner = down.shape[2]
    if down.shape != (count, hidden, inner) or rows != 2 * inner:
        return []
    layer = layer_of(place)
    half = (count, inner, hidden)
    return [
        Candidate(f"{place}.gate_proj", (gate_up.name,), half, layer, "gate_proj", EXPERTS_SET),
        Candidate(f"{place}.up_proj", (gate_up.name,), half, layer, "up_proj", EXPERTS_SET, first_row=inner),
        Candidate(f"{place}.down_proj", (down.name,), down.shape, layer, "down_proj", EXPERTS_SET),
    ]
