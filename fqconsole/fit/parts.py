"""What of each tensor one GPU holds where the matrices are shared out: `fqconsole.models.division` in names.

A tensor's place in its layer tells what it is: q, k and v, gate and up go by rows, the matrices behind them
by columns, embedding and head by the vocabulary where it divides, everything else lies on each GPU whole.
"""

import math
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from fqconsole.fit.alike import NUMBERED
from fqconsole.models.description import ModelDescription
from fqconsole.models.division import Widths, share, unit_of
from fqconsole.models.families import Family, family_named
from quantizer.scheme import Scheme, stored_bytes

# Words of checkpoints for what transformers' modules call gate_proj, up_proj and down_proj.
RISING = frozenset({"w1", "w3", "gate_proj", "up_proj"})
FALLING = frozenset({"w2", "down_proj", "output_linear"})
BOTH = frozenset({"gate_up_proj", "input_linear"})
TOWER = re.compile(r"(^|\.)(vision|visual|audio|image|speech|multi_modal)")
ROUTED = re.compile(r"(^|\.)(experts\.|block_sparse_moe\.(input|output)_linear)")

Along = Literal["heads", "inner", "vocabulary", ""]


class Piece(NamedTuple):
    """Something stored. `tensor` names one of its tensors, `name` its module; `reason` is empty for a
    matrix, whose shape is `[N, K]` or `[E, N, K]`.
    """

    tensor: str
    name: str
    shape: tuple[int, ...]
    stored: int  # bytes
    reason: str = ""
    scheme: Scheme | None = None  # of a packed matrix
    gathered: bool = False  # several tensors on disk become one

    def with_shape(self, shape: tuple[int, ...]) -> "Piece":
        """A part of this shape."""
        if shape == self.shape:
            return self
        if self.scheme is not None and self.stored == stored_bytes(self.shape, self.scheme):
            return self._replace(shape=shape, stored=stored_bytes(shape, self.scheme))
        stored = self.stored * math.prod(shape) // math.prod(self.shape)
        return self._replace(shape=shape, stored=stored)


class Role(NamedTuple):
    """What a tensor is shared out by; `pairs`: its rows are gate and up."""

    along: Along
    columns: bool = False
    pairs: bool = False


WHOLE = Role("")


class Part(NamedTuple):
    """One GPU's part of a model. Equal parts are one."""

    heads: tuple[int, int]  # key heads: its own, all
    inner: tuple[tuple[int, int], ...]  # inner features of each kind of MLP or expert: all, its own
    vocabulary: int  # GPUs that share it; 1: each has the whole

    def inner_of(self, width: int) -> int:
        """Its own of so many inner features."""
        return dict(self.inner).get(width, width)


def part_of(widths: Widths, vocabulary: int, rank: int, count: int) -> Part:
    """The part of GPU `rank`."""
    first, end = share(widths.kv_heads, rank, count)
    ends = {width: share(width, rank, count, widths.unit) for width in sorted(widths.inner)}
    return Part(
        heads=(end - first, widths.kv_heads),
        inner=tuple((width, stop - start) for width, (start, stop) in ends.items()),
        vocabulary=count if vocabulary % count == 0 else 1,
    )


def widths_of(model: ModelDescription, pieces: Iterable[Piece]) -> Widths:
    """What decides whether the matrices of a model can be shared out, from its description."""
    family = family_of(model)
    layer = model.attention[0] if model.attention else None
    pieces = tuple(pieces)
    norms = {p.shape[-1] for p in pieces if p.name.endswith((".q_norm", ".q_norm.weight"))}
    head_dim = 0 if layer is None else layer.head_dim
    return Widths(
        family=family,
        model_type=model.model_type,
        heads=model.heads,
        kv_heads=0 if layer is None else layer.kv_heads,
        head_dim=head_dim,
        inner=inner_widths(family, pieces),
        unit=unit_of([piece.scheme.group_size for piece in pieces if piece.scheme is not None]),
        normed_together=any(width != head_dim for width in norms),
    )


def family_of(model: ModelDescription) -> Family | None:
    """The family that our own forward knows the model by; None: transformers' runs."""
    return family_named(model.family) if model.family else None


def inner_widths(
    family: Family | None, pieces: Iterable[Piece], *, routed: bool | None = None
) -> frozenset[int]:
    """Inner features of MLPs and experts, or of one of the two: the columns of the matrices behind them."""
    falling = Role("inner", columns=True)
    return frozenset(
        piece.shape[-1]
        for piece in pieces
        if role_of(family, piece) == falling and routed in (None, ROUTED.search(piece.name) is not None)
    )


def role_of(family: Family | None, piece: Piece, vocabulary: int = 0) -> Role:
    """What the piece is shared out by."""
    if family is None or TOWER.search(piece.name):
        return WHOLE
    match = NUMBERED.match(piece.name)
    if match is None:
        ends = len(piece.shape) > 1 and piece.shape[0] == vocabulary
        return Role("vocabulary") if ends else WHOLE
    words = match[3].split(".")
    is_bias = words[-1] == "bias" or words[-1].endswith("_bias")
    leaf = words[-1].removesuffix("_bias") if is_bias and words[-1] != "bias" else words[-1]
    if leaf in ("weight", "bias") and len(words) > 1:
        leaf = words[-2]
    if words[0] == family.attention:
        return _of_attention(family, leaf, is_bias=is_bias)
    return _of_mlp(family, leaf, is_bias=is_bias, routed=ROUTED.search(piece.name) is not None)


def _of_attention(family: Family, leaf: str, *, is_bias: bool) -> Role:
    if leaf in family.qkv or leaf == "sinks":
        return Role("heads")
    return Role("heads", columns=True) if leaf == family.output and not is_bias else WHOLE


def _of_mlp(family: Family, leaf: str, *, is_bias: bool, routed: bool) -> Role:
    if routed and leaf in BOTH:
        return Role("inner", pairs=True)
    if (routed and leaf in RISING) or leaf in family.rising:
        return Role("inner", pairs=family.gated and len(family.rising) == 1 and not routed)
    falls = leaf == family.falling or (routed and leaf in FALLING)
    return Role("inner", columns=True) if falls and not is_bias else WHOLE


def cut(family: Family | None, piece: Piece, part: Part, vocabulary: int) -> Piece:
    """What one GPU has of it."""
    role = role_of(family, piece, vocabulary)
    if not role.along:
        return piece
    one_row = len(piece.shape) == 1 or piece.name.endswith("_bias")  # [N], or [E, N] of experts
    axis = len(piece.shape) - (1 if role.columns or one_row else 2)
    if role.along == "vocabulary":
        axis = 0
        left = piece.shape[0] // part.vocabulary
    elif role.along == "heads":
        left = piece.shape[axis] * part.heads[0] // part.heads[1]
    else:
        halves = 2 if role.pairs else 1
        left = halves * part.inner_of(piece.shape[axis] // halves)
    return piece.with_shape((*piece.shape[:axis], left, *piece.shape[axis + 1 :]))
