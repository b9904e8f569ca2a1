"""Everything that a model holds in one precision, piece by piece: from the plan, or as it is stored."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from fqconsole.fit.alike import Alike
from fqconsole.fit.parts import ROUTED, Piece, family_of, role_of
from fqconsole.models.description import ModelDescription, QuantizationInfo, TensorInfo
from quantizer import Plan, base_plan
from quantizer.matrices import plan_matrices
from quantizer.plan import Granularity, KeptTensor
from quantizer.scheme import BITS, WORD_BITS, Scheme, words_per_row

GroupSize = int | None | Literal["default"]
OF_FLOATS = re.compile(r"(fp|nf)\d")  # methods of numbers that are not whole: fp8, mxfp4, nf4
PACKED_PARTS = re.compile(
    r"(weight_packed|weight_scale|weight_zero_point|qweight|qzeros|scales|g_idx|_blocks|_scales"
    r"|weight_scale_inv)$"
)
WIDE_DTYPES = frozenset({"BF16", "F16", "F32"})


class Precision(NamedTuple):
    """One model in one precision. Of layers that are alike one stands for all."""

    bits: int
    label: str  # "int4 matrices", "bf16 matrices"
    detail: str
    pieces: tuple[Piece, ...]

    @property
    def quantized(self) -> bool:
        """Whether matrices are packed."""
        return 0 < self.bits < 16


def planned(alike: Alike, bits: int, group_size: GroupSize, width: int, head: int = 16) -> Precision:
    """The model in 16 bits (as stored, `width` bytes a value), or quantized to `bits`, its head to `head`.

    Raises UsageError for bits and group sizes that don't exist, and for a head that can't be packed.
    """
    model = alike.model
    if bits == 16:
        inventory = plan_matrices(model)
        matrices = [
            Piece(c.tensors[0], c.name, c.shape, math.prod(c.shape) * width, gathered=len(c.tensors) > 1)
            for c in inventory.matrices
        ]
        count = sum(len(alike.layers(piece.tensor)) for piece in matrices)
        detail = f"{_count(count, 'matrix', 'matrices')} as stored, {width} B a weight"
        kept = _loaded(inventory.kept, width)
        return Precision(16, _wide_label(model, width), detail, (*matrices, *kept))
    granularity: Granularity = "adaptive" if group_size == "default" else "fixed"
    plan = base_plan(model, bits, granularity, group_size, head=head)
    packed = [
        Piece(m.tensors[0], m.name, m.shape, m.bytes, scheme=as_read(m.scheme, m.shape[-1]))
        for m in plan.matrices
    ]
    detail = _plan_detail(plan, lambda name: len(alike.layers(name)) or 1)
    return Precision(bits, f"int{bits} matrices", detail, (*packed, *_loaded(plan.kept, width)))


def stored(alike: Alike, width: int) -> Precision:
    """An already quantized model, as it is stored; 16-bit tensors as they are held: `width` bytes a value.

    Raises ValueError for one that is not quantized.
    """
    quantization = alike.model.quantization
    if quantization is None:
        raise ValueError(f"{alike.model.id} is in 16 bits")
    bits, method = quantization.bits, quantization.method
    by_name = {tensor.name: tensor for tensor in alike.model.tensors}
    packed: dict[str, Piece] = {}
    taken: set[str] = set()  # scales that are counted with their codes
    for tensor in alike.model.tensors if bits else ():
        if tensor.name.endswith("weight_packed"):
            scales = by_name.get(tensor.name.removesuffix("weight_packed") + "weight_scale")
            piece = packed[tensor.name] = _packed(tensor, scales, quantization, alike.model)
            if piece.scheme is not None and scales is not None:
                taken.add(scales.name)
    pieces = [
        packed.get(tensor.name) or _as_it_lies(tensor, width)
        for tensor in alike.model.tensors
        if tensor.name not in taken and not tensor.name.endswith("weight_shape")  # which is never held
    ]
    matrices = sum(len(alike.layers(name)) or 1 for name in packed)
    detail = (
        f"{_count(matrices, 'matrix', 'matrices')} as stored, {method}" if matrices else f"stored, {method}"
    )
    whole = bits and not OF_FLOATS.search(method)
    return Precision(bits, f"int{bits} matrices" if whole else f"{method} matrices", detail, tuple(pieces))


def _as_it_lies(tensor: TensorInfo, width: int) -> Piece:
    if PACKED_PARTS.search(tensor.name) is not None or tensor.dtype not in WIDE_DTYPES:
        return Piece(tensor.name, tensor.name, tensor.shape, tensor.bytes)
    held = max(tensor.bytes, math.prod(tensor.shape) * width)
    return Piece(tensor.name, tensor.name, tensor.shape, held, _reason(tensor.name))


def _packed(
    packed: TensorInfo, scales: TensorInfo | None, quantization: QuantizationInfo, model: ModelDescription
) -> Piece:
    """One stored matrix with its scales; its codes alone where the width is not ours."""
    name = packed.name.removesuffix(".weight_packed")
    alone = Piece(packed.name, name, packed.shape, packed.bytes)
    if scales is None or len(packed.shape) != 2 or len(scales.shape) != 2 or not scales.shape[1]:
        return alone
    groups = scales.shape[1]
    reading = _as_loaded(packed, groups, quantization) or _likeliest(alone, groups, quantization, model)
    if reading.scheme.bits not in BITS:
        return alone
    return Piece(
        packed.name, name, (packed.shape[0], reading.k), packed.bytes + scales.bytes, scheme=reading.scheme
    )


class _Reading(NamedTuple):
    """What so many words and scales a row may be."""

    k: int
    scheme: Scheme


def _reading(k: int, groups: int, bits: int) -> _Reading:
    return _Reading(k, as_read(Scheme(bits, k // groups), k))


def as_read(scheme: Scheme, k: int) -> Scheme:
    """What a loader takes the scheme for: a group as long as the row is `channel`."""
    return Scheme(scheme.bits, None) if scheme.group_size == k else scheme


def _as_loaded(packed: TensorInfo, groups: int, quantization: QuantizationInfo) -> _Reading | None:
    """As the loader reads it, by the shape that is stored with it; None where that is not known, or wrong."""
    rows, words = packed.shape
    if len(packed.unpacked) != 2 or packed.unpacked[0] != rows or packed.unpacked[1] % groups:
        return None
    k = packed.unpacked[1]
    found = (bits for bits in (quantization.bits, *BITS) if words_per_row(k, bits) == words)
    return next((_reading(k, groups, bits) for bits in found), None)


def _likeliest(
    packed: Piece, groups: int, quantization: QuantizationInfo, model: ModelDescription
) -> _Reading:
    """Without its shape, as on the hub: of what the words allow, the bits of most matrices first, what gives
    it rows as long as a matrix in this place has in this model, or any.
    """
    words = packed.shape[1]
    expected, known = _lengths(model, packed)
    if groups == 1:
        lengths = sorted(known)
    else:
        lengths = [groups * group for group in quantization.group_sizes if group is not None]
    allowed = [
        _reading(k, groups, bits)
        for bits in dict.fromkeys((quantization.bits, *BITS))
        for k in lengths
        if words_per_row(k, bits) == words
    ]
    if allowed:
        return min(allowed, key=lambda reading: (reading.k not in expected, reading.k not in known))
    k = max(groups, words * WORD_BITS // quantization.bits // groups * groups)
    return _reading(k, groups, quantization.bits)


def _lengths(model: ModelDescription, piece: Piece) -> tuple[set[int], set[int]]:
    """How long rows are that read what the piece does, as far as its place tells, and those of any matrix."""
    heads = {
        model.heads * width for layer in model.attention for width in (layer.head_dim, layer.value_head_dim)
    }
    inner = {model.expert_intermediate_size if ROUTED.search(piece.name) else model.intermediate_size}
    role = role_of(family_of(model), piece)
    expected = {model.hidden_size} if role.along else set()
    if role.columns:
        expected = heads if role.along == "heads" else inner
    known = heads | inner | {model.hidden_size, model.intermediate_size}
    return expected - {0}, known - {0}


def _loaded(kept: Sequence[KeptTensor], width: int) -> list[Piece]:
    return [
        Piece(t.name, t.name, t.shape, max(t.bytes, math.prod(t.shape) * width), t.reason or "kept")
        for t in kept
    ]


def _reason(name: str) -> str:
    """A reason like the plan's, for tensors of a checkpoint that no plan was made for."""
    if re.search(r"(^|\.)(lm_head|embed_out)\.", name):
        return "lm_head"
    if re.search(r"\.\d+\.", name):
        return "16-bit"
    return "embedding" if re.search(r"emb|wte|wpe", name) else "outside the layers"


def _plan_detail(plan: Plan, times: Callable[[str], int]) -> str:
    groups = Counter[str]()
    for matrix in plan.matrices:
        groups[matrix.scheme.group_word] += times(matrix.tensors[0])
    words = ", ".join(f"group {word}" if word != "channel" else word for word, _ in groups.most_common(3))
    first = f"{_count(groups.total(), 'matrix', 'matrices')}, {words or 'none'}"
    second = f"codes N · ⌈K · {plan.bits} / 32⌉ · 4 B + scales N · K/group · 2 B"
    if plan.granularity == "adaptive":
        second += "; finer groups, where the weights ask for them, come on top"
    return f"{first}\n{second}"


def _wide_label(model: ModelDescription, width: int) -> str:
    words = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    return f"{'fp32' if width == 4 else words.get(model.dtype, '16-bit')} matrices"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
