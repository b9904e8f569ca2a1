"""What the weights take, and where they lie: per numbered layer, before the first and after the last.

Quantized precisions come from the plan (codes and scales, padding included), everything else from the
headers. Kept tensors are loaded in the width the model computes in; those stored wider stay as they are.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from fqconsole.fit.alike import Alike
from fqconsole.fit.place import Place
from fqconsole.models.description import ModelDescription, QuantizationInfo, TensorInfo
from quantizer import Plan, base_plan
from quantizer.matrices import plan_matrices
from quantizer.plan import KeptTensor
from quantizer.scheme import BITS, WORD_BITS, Scheme, words_per_row

GroupSize = int | None | Literal["default"]
PACKED_PARTS = re.compile(
    r"(weight_packed|weight_scale|weight_zero_point|qweight|qzeros|scales|g_idx|_blocks|_scales"
    r"|weight_scale_inv)$"
)
WIDE_DTYPES = frozenset({"BF16", "F16", "F32"})
JOINED = re.compile(r"(^|\.)experts\.(\d+\.)?(gate_proj|up_proj|w1|w3)$")
ROUTED = re.compile(r"(^|\.)(experts\.|block_sparse_moe\.(input|output)_linear)")
AFTER = ("lm_head",)  # reasons of kept tensors that belong behind the last layer
BEFORE = ("embedding", "not the language model")


class Weights(NamedTuple):
    """Bytes of a model in one precision. A tied head counts once, and again where it lies on another GPU."""

    bits: int
    label: str  # "int4 matrices", "bf16 matrices"
    matrices: tuple[int, ...]  # per layer
    kept: tuple[int, ...]  # per layer: norms, biases, routers, what has no group that divides it
    before: int  # embeddings, and towers that are not the language model
    after: int  # head, final norm, and whatever lies outside the layers
    tied_copy: int  # what the last GPU needs besides, when the embedding lies on another one
    quantized: bool
    layout: tuple[int, ...]  # per layer: what the device's own layout takes on top of the stored bytes
    routed: tuple[int, ...]  # per layer: of all these, what belongs to experts that a token may pass by
    head: int  # of what lies outside the layers, what every token reads: head and final norm
    loading: int  # what the largest matrix takes besides while it is brought into its form
    detail: str
    kept_detail: str

    @property
    def layers(self) -> int:
        """Bytes of the numbered layers."""
        return sum(self.matrices) + sum(self.kept)

    @property
    def total(self) -> int:
        """Bytes of the whole model on one GPU."""
        return self.layers + self.before + self.after


class Piece(NamedTuple):
    """Something stored, by the name of one of its tensors; `reason` is empty for a quantized matrix."""

    tensor: str
    bytes: int
    reason: str = ""
    layout: int = 0  # bytes on top, on the device


def planned_weights(alike: Alike, bits: int, group_size: GroupSize, place: Place) -> Weights:
    """The model in 16 bits (as stored, in the place's width) or quantized to `bits`.

    Raises UsageError for bits and group sizes that don't exist.
    """
    model = alike.model
    width = place.width
    if bits == 16:
        inventory = plan_matrices(model)
        matrices = [Piece(c.tensors[0], math.prod(c.shape) * width) for c in inventory.matrices]
        # Experts that lie one by one are gathered before they are one tensor; the rest is read in place.
        gathered = [
            _gathered(c.name, math.prod(c.shape) * width) for c in inventory.matrices if c.tensors[1:]
        ]
        count = sum(len(alike.layers(piece.tensor)) for piece in matrices)
        detail = f"{_count(count, 'matrix', 'matrices')} as stored, {width} B a weight"
        pieces = [*matrices, *_loaded(inventory.kept, width)]
        label = _wide_label(model, width)
        return _placed(alike, pieces, bits=16, label=label, detail=detail, loading=max(gathered, default=0))
    plan = base_plan(model, bits, "adaptive" if group_size == "default" else "fixed", group_size)
    pieces = [
        Piece(m.tensors[0], m.bytes, layout=_held(place, m.name, m.shape, m.scheme) - m.bytes)
        for m in plan.matrices
    ]
    pieces += _loaded(plan.kept, width)
    detail = _plan_detail(plan, lambda name: len(alike.layers(name)))
    loading = max((_gathered(m.name, m.bytes) for m in plan.matrices), default=0)
    return _placed(alike, pieces, bits=bits, label=f"int{bits} matrices", detail=detail, loading=loading)


def stored_weights(alike: Alike, place: Place) -> Weights:
    """An already quantized model, as it is stored."""
    quantization = alike.model.quantization
    bits = quantization.bits if quantization is not None else 0
    method = quantization.method if quantization is not None else "16-bit"
    pieces: list[Piece] = []
    by_name = {tensor.name: tensor for tensor in alike.model.tensors}
    matrices = loading = 0
    for tensor in alike.model.tensors:
        if tensor.name.endswith("weight_shape"):  # read at loading, never held
            continue
        packed = PACKED_PARTS.search(tensor.name) is not None or tensor.dtype not in WIDE_DTYPES
        layout = 0
        if tensor.name.endswith("weight_packed") and quantization is not None and bits:
            matrices += len(alike.layers(tensor.name)) or 1
            stem = tensor.name.removesuffix(".weight_packed")
            experts = max(1, alike.model.experts) if ROUTED.search(stem) else 1
            loading = max(loading, _gathered(stem, experts * tensor.bytes))
            layout = _stored_layout(place, stem, tensor, by_name.get(f"{stem}.weight_scale"), quantization)
        pieces.append(Piece(tensor.name, tensor.bytes, "" if packed else _reason(tensor.name), layout))
    detail = (
        f"{_count(matrices, 'matrix', 'matrices')} as stored, {method}" if matrices else f"stored, {method}"
    )
    label = f"int{bits} matrices" if bits else f"{method} matrices"
    return _placed(alike, pieces, bits=bits, label=label, detail=detail, loading=loading)


def _gathered(name: str, count: int) -> int:
    """What a matrix of `count` bytes takes besides while it is loaded: itself as it is stored; of an expert's
    gate and up both halves, and both once more where they are put together.
    """
    return 4 * count if JOINED.search(name) else count


def _stored_layout(
    place: Place, stem: str, packed: TensorInfo, scales: TensorInfo | None, quantization: QuantizationInfo
) -> int:
    """What one stored matrix takes on top in the device's layout; 0 for a width that is not ours."""
    if scales is None or len(packed.shape) != 2 or len(scales.shape) != 2 or not scales.shape[1]:
        return 0
    rows, words = packed.shape
    k, scheme = _scheme_of(words, scales.shape[1], quantization)
    if scheme.bits not in BITS:
        return 0
    return max(0, _held(place, stem, (rows, k), scheme) - packed.bytes - scales.bytes)


def _scheme_of(words: int, groups: int, quantization: QuantizationInfo) -> tuple[int, Scheme]:
    """K and the scheme of a matrix with so many words and scales a row. Widths may differ within a model:
    the one that a known group size explains goes before the width that most matrices have.
    """
    if groups > 1:
        for bits in dict.fromkeys((quantization.bits, *BITS)):
            for group in quantization.group_sizes:
                if group is not None and words_per_row(groups * group, bits) == words:
                    return groups * group, Scheme(bits, group)
    k = words * WORD_BITS // quantization.bits
    if groups == 1:
        return k, Scheme(quantization.bits, None)
    group = max(1, k // groups)
    return groups * group, Scheme(quantization.bits, group)


def _held(place: Place, name: str, shape: tuple[int, ...], scheme: Scheme) -> int:
    """Bytes on the device. An expert's gate and up become one matrix there: each counts as half of it.

    The matrix that makes keys and values of a latent is held in 16 bits: decoding multiplies with it from
    either side.
    """
    if name.endswith(".kv_b_proj"):
        return math.prod(shape) * place.width
    if JOINED.search(name):
        *stack, rows, k = shape
        return place.layout((*stack, 2 * rows, k), scheme) // 2
    return place.layout(shape, scheme)


def _placed(
    alike: Alike, pieces: Iterable[Piece], *, bits: int, label: str, detail: str, loading: int
) -> Weights:
    model = alike.model
    matrices = [0] * model.layers
    rest = [0] * model.layers
    layout = [0] * model.layers
    routed = [0] * model.layers
    before = after = head = embedding = 0
    words = Counter[str]()
    for piece in pieces:
        layers = alike.layers(piece.tensor)
        whole = piece.bytes * max(1, len(layers))
        if piece.reason in AFTER:
            head += whole
        elif piece.reason in BEFORE:
            before += whole
            if piece.reason == "embedding":  # the vocabulary's is larger than any for positions
                embedding = max(embedding, whole)
        elif not layers:
            after += whole
        else:
            place = rest if piece.reason else matrices
            passed_by = model.experts > 0 and ROUTED.search(piece.tensor) is not None
            for layer in layers:
                if layer < model.layers:
                    place[layer] += piece.bytes
                    layout[layer] += piece.layout
                    routed[layer] += (piece.bytes + piece.layout) * passed_by
                else:  # prediction layers behind the last one
                    after += piece.bytes + piece.layout
            if piece.reason:
                words[piece.reason] += len(layers)
    return Weights(
        bits=bits,
        label=label,
        matrices=tuple(matrices),
        kept=tuple(rest),
        before=before,
        after=after + (0 if model.tied_embeddings else head),
        tied_copy=embedding if model.tied_embeddings else 0,
        quantized=label.startswith("int"),
        layout=tuple(layout),
        routed=tuple(routed),
        head=embedding if model.tied_embeddings else head,
        loading=loading,
        detail=detail,
        kept_detail=", ".join(f"{count:,} {word}" for word, count in words.most_common(4)),
    )


def _loaded(kept: Sequence[KeptTensor], width: int) -> list[Piece]:
    return [Piece(t.name, max(t.bytes, math.prod(t.shape) * width), t.reason or "kept") for t in kept]


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
