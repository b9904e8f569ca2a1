"""What a plan of mixed widths takes on a device: read off the preview of the plain widths.

The preview tells what the fullest GPU holds for 16, 8, 4 and 3 bits at their base groups. Between those its
total is all but straight in the bytes of the matrices, so a plan's total lies on the line through the two
next to it, and what a plan may take follows from the room that is left.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from fqconsole.fit.preview import PRECISIONS, FitPreview, Option, Verdict
from fqconsole.fit.term import Term
from fqconsole.models.description import ModelDescription
from quantizer import base_plan
from quantizer.plan import predicted_bytes

WIDE = 16
Point = tuple[int, int]  # bytes of all matrices, total of the fullest GPU


def points_of(
    description: ModelDescription, found: FitPreview, gpus: int, whole_bytes: int, head: int = 16
) -> list[Point]:
    """The plain widths in rising order; `whole_bytes` is what the matrices take in 16 bits, with the head
    where that is packed.

    `found` holds an option of each of PRECISIONS on `gpus` GPUs, with the head in `head` bits. In 16 bits a
    tied head is the embedding, which the option counts once, and `whole_bytes` beside it: each GPU is given
    its share of that too. Raises UsageError where an option is missing.
    """
    plans = {bits: base_plan(description, bits, head=head) for bits in PRECISIONS if bits != WIDE}
    again = 0
    if head != WIDE and description.tied_embeddings:
        plan = plans[head]
        again = 2 * sum(matrix.weights for matrix in plan.matrices if matrix.layer is None) // gpus
    return [
        (
            predicted_bytes(plans[bits]) if bits in plans else whole_bytes,
            found.option(bits, gpus).total_bytes_per_gpu + (0 if bits in plans else again),
        )
        for bits in sorted(PRECISIONS)
    ]


def bytes_within(points: Sequence[Point], room: int) -> int:
    """The bytes of a plan whose total is `room`; the line through the first two points or the last two goes
    on beyond them. 0 where nothing would be left.
    """
    lines = list(pairwise(points))
    first, second = next((line for line in lines if room <= line[1][1]), lines[-1])
    slope = (second[1] - first[1]) / max(1, second[0] - first[0])
    return max(0, int(first[0] + (room - first[1]) / max(slope, 1e-9)))


def total_of(points: Sequence[Point], size: int) -> int:
    """The total of a plan whose matrices take `size` bytes."""
    lines = list(pairwise(points))
    first, second = next((line for line in lines if size <= line[1][0]), lines[-1])
    slope = (second[1] - first[1]) / max(1, second[0] - first[0])
    return max(0, round(first[1] + (size - first[0]) * slope))


class PlanMemory:
    """What plans of one model take on `gpus` GPUs of a preview; `whole_bytes` and `head` as `points_of` has
    them. The sizes asked for count a packed head in.
    """

    def __init__(
        self, description: ModelDescription, found: FitPreview, gpus: int, whole_bytes: int, head: int = 16
    ) -> None:
        """Raises UsageError where `found` lacks one of PRECISIONS on so many GPUs."""
        self._found = found
        self._gpus = gpus
        self._points = points_of(description, found, gpus, whole_bytes, head)

    @property
    def room(self) -> int:
        """Bytes that may be filled on the GPU that decides, the preview's own margin kept."""
        free = self._found.option(16, self._gpus).capacity_bytes
        return free - int(free * self._found.margin)

    @property
    def most_bytes(self) -> int:
        """The largest matrices that go; 0 where nothing would be left for them."""
        return bytes_within(self._points, self.room)

    def option(self, size: int, bits_per_weight: float) -> Option:
        """The option of a plan whose matrices take `size` bytes: the plain width next to it, its matrices'
        term exchanged. Largest context and batch are those of that width; no decode ceiling is claimed.
        """
        widths = zip(sorted(PRECISIONS), self._points, strict=True)
        nearest = min(widths, key=lambda width: abs(width[1][0] - size))[0]
        base = self._found.option(nearest, self._gpus)
        total = total_of(self._points, size)
        verdict: Verdict = (
            "fits" if total <= self.room else "tight" if total <= base.capacity_bytes else "does not fit"
        )
        more = total - base.total_bytes_per_gpu
        term = Term(
            "planned matrices",
            max(0, base.terms[0].bytes + more),
            "formula",
            f"{bits_per_weight:.2f} bits a weight\non the line through the plain widths next to it",
        )
        return msgspec.structs.replace(
            base,
            terms=(term, *base.terms[1:]),
            weights_bytes=max(0, base.weights_bytes + more),
            total_bytes_per_gpu=total,
            verdict=verdict,
            smallest_change="" if verdict == "fits" else "fewer bits a weight",
            decode_tok_s=None,
        )
