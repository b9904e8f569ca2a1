"""What the weights take on one GPU, and where they lie: per numbered layer, and what lies in none.

The loader brings a packed matrix into the device's own layout; q, k and v, and gate and up, become one matrix
where their schemes agree and the session's forward is our own. While that happens a matrix is there more than
once: as it is stored, joined, and as it will lie.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from fqconsole.fit.alike import Alike
from fqconsole.fit.loaded import gaps_of, loading_phases
from fqconsole.fit.parts import RISING, ROUTED, Part, Piece, cut, family_of
from fqconsole.fit.place import Place
from fqconsole.models.families import Family

HEAD = re.compile(r"(^|\.)(lm_head|embed_out|head)$")
FLOAT_BYTES = 4
FLOAT_NAMES = ("e_score_correction_bias",)  # held in float32 whatever the model computes in


class Weights(NamedTuple):
    """Bytes of a model in one precision on a GPU that has all of it, or a part of every matrix."""

    matrices: tuple[int, ...]  # per layer
    kept: tuple[int, ...]  # per layer: norms, biases, routers, what has no group that divides it
    layout: tuple[int, ...]  # per layer: what the device's own forms take on top of the stored bytes
    routed: tuple[int, ...]  # per layer: of all these, what belongs to experts that a token may pass by
    embedding: int
    head: int  # 0 where it is the embedding
    outside: int  # what else lies in no layer: final norm, positions, towers
    tied: bool
    loading: int  # what the largest matrix takes besides while it is brought into its form
    gaps: int  # what torch's allocator holds beside all that, once it is loaded
    kept_words: str

    @property
    def held(self) -> tuple[int, ...]:
        """Bytes of each layer as they lie on the device."""
        return tuple(map(sum, zip(self.matrices, self.kept, self.layout, strict=True)))

    @property
    def ends(self) -> int:
        """Bytes of what lies in no layer."""
        return self.embedding + self.head + self.outside

    @property
    def layers(self) -> int:
        """Bytes of the numbered layers, as stored."""
        return sum(self.matrices) + sum(self.kept)

    @property
    def total(self) -> int:
        """Bytes of the whole, as stored."""
        return self.layers + self.ends

    @property
    def read_last(self) -> int:
        """What every token reads of what lies in no layer: the head, or the embedding that is one."""
        return self.head or (self.embedding if self.tied else 0)


def weights_on(alike: Alike, pieces: Sequence[Piece], place: Place, part: Part | None = None) -> Weights:
    """What one GPU holds of `pieces`; `part` None: all of them."""
    model = alike.model
    family = family_of(model)
    if part is not None:
        pieces = [cut(family, piece, part, model.vocab_size) for piece in pieces]
    sets = _joined(pieces, family)
    forms, loading = _forms(pieces, sets, place, family, max(1, model.experts))
    matrices, rest, layout, routed = ([0] * model.layers for _ in range(4))
    embedding = head = outside = 0
    words = Counter[str]()
    for piece, more in zip(pieces, forms, strict=True):
        layers = alike.layers(piece.tensor)
        whole = piece.stored * max(1, len(layers))
        if piece.reason == "lm_head":
            head += 0 if model.tied_embeddings else whole
        elif not layers and HEAD.search(piece.name):  # packed
            head += whole + more
        elif piece.reason == "embedding" and len(piece.shape) > 1 and whole > embedding:
            outside += embedding  # the vocabulary's is larger than any for positions
            embedding = whole
        elif not layers or piece.reason == "not the language model":
            outside += whole
            if layout:
                layout[-1] += more
        else:
            passed_by = model.experts > 0 and ROUTED.search(piece.tensor) is not None
            for layer in layers:
                if layer < model.layers:
                    (rest if piece.reason else matrices)[layer] += piece.stored
                    layout[layer] += more
                    routed[layer] += (piece.stored + more) * passed_by
                else:  # prediction layers behind the last one
                    outside += piece.stored + more
            if piece.reason:
                words[piece.reason] += len(layers)
    return Weights(
        matrices=tuple(matrices),
        kept=tuple(rest),
        layout=tuple(layout),
        routed=tuple(routed),
        embedding=embedding,
        head=head,
        outside=outside,
        tied=model.tied_embeddings and not head,  # a packed head lies beside the embedding
        loading=loading,
        gaps=0 if place.on_host else gaps_of(loading_phases(pieces, sets, alike, place)),
        kept_words=", ".join(f"{count:,} {word}" for word, count in words.most_common(4)),
    )


def _forms(
    pieces: Sequence[Piece], sets: list[list[int]], place: Place, family: Family | None, experts: int
) -> tuple[list[int], int]:
    """What each piece takes on top of its stored bytes, and the most that one takes besides while loading."""
    forms = [_on_top(piece, place, family) for piece in pieces]
    loading = max((_besides(piece, place, experts) for piece in pieces), default=0)
    for numbers in sets:
        members = [pieces[number] for number in numbers]
        stored = sum(piece.stored for piece in members)
        scheme = members[0].scheme
        if scheme is None:
            loading = max(loading, stored)
            continue
        rows = sum(piece.shape[0] for piece in members)
        loading = max(loading, 2 * stored + place.preparing((rows, members[0].shape[1]), scheme))
        for number in numbers:
            forms[number] = 0
        forms[numbers[0]] = max(0, place.layout((rows, members[0].shape[1]), scheme) - stored)
    return forms, loading


def _on_top(piece: Piece, place: Place, family: Family | None) -> int:
    if piece.scheme is not None:
        return max(0, _held(piece, place, family) - piece.stored)
    if piece.name.endswith(FLOAT_NAMES):
        return max(0, math.prod(piece.shape) * FLOAT_BYTES - piece.stored)
    # Gemma's weights are 1 + w in float32, beside the module's own.
    from_one = family is not None and family.norm == "rms_from_one"
    if (
        from_one
        and len(piece.shape) == 1
        and "norm" in piece.name
        and piece.reason != "not the language model"
    ):
        return math.prod(piece.shape) * FLOAT_BYTES
    return 0


def _held(piece: Piece, place: Place, family: Family | None) -> int:
    """Bytes of a packed matrix on the device. An expert's gate and up become one matrix there: each counts as
    half of it. The matrix that makes keys and values of a latent is held in 16 bits where our own forward
    multiplies with it from either side.
    """
    assert piece.scheme is not None  # noqa: S101 - asked before
    leaf = piece.name.rpartition(".")[2]
    if family is not None and leaf in family.held_whole:
        return math.prod(piece.shape) * place.width
    if ROUTED.search(piece.name) and leaf in RISING:
        *stack, rows, k = piece.shape
        return place.layout((*stack, 2 * rows, k), piece.scheme) // 2
    return place.layout(piece.shape, piece.scheme)


def _besides(piece: Piece, place: Place, experts: int) -> int:
    """What a piece takes besides its form while it is loaded: itself as it is stored, where that differs; of
    an expert's gate and up both halves, and both once more where they are put together.
    """
    routed = ROUTED.search(piece.name) is not None
    stack = piece.stored * (experts if routed and len(piece.shape) == 2 else 1)
    if piece.scheme is None and not piece.gathered:
        return 0
    rising = routed and piece.name.rpartition(".")[2] in RISING
    preparing = (
        0 if piece.scheme is None else place.preparing(piece.shape, piece.scheme) * (2 if rising else 1)
    )
    return (4 if rising else 1) * stack + preparing


def _joined(pieces: Sequence[Piece], family: Family | None) -> list[list[int]]:
    """Numbers of the pieces that become one matrix: all of a set, in one scheme."""
    sets: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for number, piece in enumerate(pieces):
        parent, _, leaf = piece.name.rpartition(".")
        for names in () if family is None or len(piece.shape) != 2 or piece.reason else family.joined:
            if leaf in names and not ROUTED.search(piece.name):
                sets[parent, names].append(number)
    found = []
    for (_, names), numbers in sets.items():
        kinds = {(pieces[number].scheme, pieces[number].shape[1]) for number in numbers}
        if len(numbers) == len(names) and len(kinds) == 1:
            found.append(numbers)
    return found
