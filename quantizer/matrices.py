"""Which tensors of a model are matrices, which are kept and why: decided by rule from names and shapes alone.

A matrix is a 2-D floating-point `*.weight` inside a numbered layer. Kept are: everything outside the
numbered layers (embeddings, lm_head), embeddings and heads inside them, routers, norms, biases, convolutions
and towers that are not the language model. A weight stored as `[K, N]` (GPT-2's Conv1D) is quantized as its
transpose. Routed experts become one stack `[E, N, K]` per layer and projection, whether they lie on disk as
one 2-D tensor per expert or fused as 3-D tensors, `[E, 2I, H]` and `[E, H, I]` or the transposes of these.
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
UNKNOWN_FUSED = "fused experts of another layout"

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
# Fused experts on disk: gate and up as one, then down, in the words of several families.
_FUSED_EXPERTS = re.compile(
    r"^(?P<place>(?:.*\.)?(?:experts|block_sparse_moe))\."
    r"(?:(?P<rising>gate_up_proj|fc1|input_linear)|(?P<falling>down_proj|fc2|output_linear))(?:\.weight)?$"
)
_ROUTER = re.compile(r"gate|router|gating|.*_router")
_SMALL_GATE = re.compile(r".*_gate")
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
    transposed: bool = False


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
        reason = _kept_reason(tensor, description.experts)
        expert, stack = _EXPERT.match(tensor.name), _FUSED_EXPERTS.match(tensor.name)
        if stack is not None and len(tensor.shape) == 3 and tensor.dtype in FLOATS:
            fused[stack["place"]]["rising" if stack["rising"] else "falling"] = tensor
        elif reason:
            kept.append(_keep(tensor, reason))
        elif expert is not None:
            experts[expert["experts"], expert["kind"]][int(expert["index"])] = tensor
        else:
            single.append(_single(tensor, transposed))
    stacks = [c for (place, kind), members in experts.items() for c in _stack(place, kind, members)]
    for place, pair in fused.items():
        unfused = _unfuse(place, pair, biased=f"{place}.gate_up_proj_bias" in tensors)
        stacks.extend(unfused)
        if not unfused:
            kept.extend(_keep(tensor, UNKNOWN_FUSED) for tensor in pair.values())
    order = {tensor.name: place for place, tensor in enumerate(description.tensors)}
    matrices = sorted(single + stacks, key=lambda c: (order[c.tensors[0]], c.first_row))
    return Inventory(tuple(matrices), tuple(sorted(kept, key=lambda k: order[k.name])))


def experts_place(name: str) -> str:
    """`model.layers.0.mlp.experts` of a stack or an expert in it: what engines run as one."""
    parts = name.split(".")
    return ".".join(parts[: parts.index(EXPERTS_SET) + 1])


def is_routed(name: str) -> bool:
    """Whether a tensor, under its name in the source, is of routed experts, one by one or fused."""
    return bool(_EXPERT.match(name) or _FUSED_EXPERTS.match(name))


def is_head(name: str) -> bool:
    """Whether a matrix, by its name, is the output head."""
    return layer_of(name) is None and _HEAD.fullmatch(name.rpartition(".")[2]) is not None


def layer_of(name: str) -> int | None:
    """The first number among the parts of a tensor's name; None outside the numbered layers."""
    return next((int(part) for part in name.split(".") if part.isdecimal()), None)


def _kept_reason(tensor: TensorInfo, experts: int) -> str:
    """Why a tensor is kept, or an empty word for a matrix."""
    parts = tensor.name.split(".")
    if parts[-1] != "weight":
        return _parameter_reason(parts)
    module = parts[-2] if len(parts) > 1 else ""
    if len(tensor.shape) == 1:
        return "norm" if _NORM.fullmatch(module) else "vector"
    if "conv" in module:
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
    if _SMALL_GATE.fullmatch(module) and tensor.shape[0] in (1, experts):
        return "router"
    if 1 in tensor.shape:
        return "a single row or column"
    return ""


def _parameter_reason(parts: list[str]) -> str:
    """Why a tensor that is no layer's weight is kept."""
    if "bias" in parts[-1]:
        return "bias"
    return UNKNOWN_FUSED if EXPERTS_SET in parts else f"parameter {parts[-1]}"


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


def _single(tensor: TensorInfo, transposed_kinds: frozenset[str]) -> Candidate:
    name = tensor.name.removesuffix(WEIGHT)
    parent, _, kind = name.rpartition(".")
    role = next((role for role, members in FUSED_ROLES if kind in members), None)
    fused_set = f"{parent}.{role}" if role else name
    transposed = kind in transposed_kinds
    shape = tensor.shape[::-1] if transposed else tensor.shape
    return Candidate(name, (tensor.name,), shape, layer_of(name), kind, fused_set, transposed=transposed)


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


def _unfuse(place: str, pair: Mapping[str, TensorInfo], *, biased: bool) -> list[Candidate]:
    """Stacks cut out of two fused tensors; empty where their shapes tell no layout.

    `[E, 2I, H]` with `[E, H, I]`, or transposed `[E, H, 2I]` with `[E, I, H]`: no sizes fit both. Gate and up
    are halves of the 2I rows and become stacks of their own, as engines name them. Experts with biases
    (gpt-oss) have the two interleaved, and nothing in names or shapes tells: their rows stay one stack.
    """
    rising, falling = pair.get("rising"), pair.get("falling")
    if rising is None or falling is None:
        return []
    count, *wide = rising.shape
    transposed = falling.shape == (count, wide[1] // 2, wide[0])
    rows, hidden = wide[::-1] if transposed else wide
    inner = rows // 2
    if rows % 2 or falling.shape != ((count, inner, hidden) if transposed else (count, hidden, inner)):
        return []
    experts = place if place.endswith(EXPERTS_SET) else f"{place}.{EXPERTS_SET}"
    layer = layer_of(place)

    def cut(kind: str, tensor: TensorInfo, n: int, k: int, first_row: int = 0) -> Candidate:
        shape = (count, n, k)
        name = f"{experts}.{kind}"
        return Candidate(name, (tensor.name,), shape, layer, kind, EXPERTS_SET, first_row, transposed)

    down = cut("down_proj", falling, hidden, inner)
    if biased:
        return [cut("gate_up_proj", rising, rows, hidden), down]
    gate = cut("gate_proj", rising, inner, hidden)
    return [gate, cut("up_proj", rising, inner, hidden, first_row=inner), down]
