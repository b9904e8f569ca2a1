"""One model in one precision at some context and batch on some GPUs: bytes per GPU, and what follows."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from fqconsole.fit.activations import activations
from fqconsole.fit.kv import layer_bytes, summary
from fqconsole.fit.place import Place
from fqconsole.fit.split import Share, fits_within, split_layers
from fqconsole.fit.term import Term
from fqconsole.fit.weights import Weights
from fqconsole.models.description import ModelDescription

CPU_LAYOUT_DETAIL = (
    "what the CPU's operators take on top\n"
    "half a byte a weight (int8: one), and 4 B a group for scale and zero (docs/fit.md)"
)
MOST_BATCH = 1 << 16
CONTEXT_STEP = 256  # the largest context is given as a round number


class Load(NamedTuple):
    """What the fullest GPU holds."""

    total: int
    weights: int
    kv: int
    activations: int
    share: Share


class Estimate:
    """The arithmetic of one model in one precision in one kind of place."""

    def __init__(self, model: ModelDescription, weights: Weights, place: Place) -> None:
        self.model = model
        self.weights = weights
        self.place = place
        self.width = place.width
        self._unpacked = place.unpacked if weights.quantized else 0
        self._layout = weights.cpu_extra if place.rearranges else 0
        # What is there whatever the context: the process, and what another layout takes on top.
        self.fixed = place.runtime.bytes + self._layout
        self._stored = [a + b for a, b in zip(weights.matrices, weights.kept, strict=True)]
        self._kinds = Counter(model.attention)

    def load(self, gpus: int, context: int, batch: int) -> Load:
        """The fullest of `gpus` GPUs when the layers are split as well as they can be."""
        cache = self._cache(context, batch)
        layers = [a + b for a, b in zip(self._stored, cache, strict=True)]
        before, after = self._ends(gpus)
        extra = self._extra(context, batch)
        fullest: Load | None = None
        for share in split_layers(layers, before, after, gpus):
            stored = sum(self._stored[share.start : share.stop])
            stored += (before if share.first else 0) + (after if share.last else 0)
            kept = sum(cache[share.start : share.stop])
            total = stored + kept + extra + self.fixed
            if fullest is None or total > fullest.total:
                fullest = Load(total, stored, kept, extra, share)
        if fullest is None:
            raise ValueError("at least one GPU is needed")
        return fullest

    def goes(self, gpus: int, context: int, batch: int, room: int) -> bool:
        """True when no GPU holds more than `room` bytes."""
        layers = [a + b for a, b in zip(self._stored, self._cache(context, batch), strict=True)]
        before, after = self._ends(gpus)
        left = room - self.fixed - self._extra(context, batch)
        return left >= 0 and fits_within(layers, before, after, gpus, left)

    def largest_context(self, gpus: int, batch: int, room: int) -> int:
        """Most tokens, up to the model's own limit, that go within `room` bytes a GPU; 0 when none does."""
        limit = self.model.context_length
        found = _largest(limit, lambda context: self.goes(gpus, context, batch, room))
        if CONTEXT_STEP <= found < limit:
            found -= found % CONTEXT_STEP
        return found

    def largest_batch(self, gpus: int, context: int, room: int) -> int:
        """Most sequences at once that go within `room` bytes a GPU; 0 when not even one does."""
        return _largest(MOST_BATCH, lambda batch: self.goes(gpus, context, batch, room))

    def terms(self, load: Load, gpus: int, context: int, batch: int) -> tuple[Term, ...]:
        """What the fullest GPU holds, part by part; the parts sum up to its total."""
        share = load.share
        weights = self.weights
        rows = slice(share.start, share.stop)
        before, after = self._ends(gpus)
        ends = (before if share.first else 0) + (after if share.last else 0)
        of = "" if gpus == 1 else f" of layers {share.start}-{share.stop - 1}"
        peak = activations(self.model, context, batch, self.width, self._unpacked)
        parts = (
            Term(weights.label, sum(weights.matrices[rows]), "headers", weights.detail),
            Term("kept in layers", sum(weights.kept[rows]), "headers", weights.kept_detail + of),
            Term("embeddings, head", ends, "headers", self._ends_detail(share, gpus)),
            Term("KV cache", load.kv, "formula", self._cache_detail(context, batch)),
            Term("activations", load.activations, "formula", peak.detail),
            Term("CPU layout", self._layout, "formula", CPU_LAYOUT_DETAIL),
            Term(self.place.runtime.name, self.place.runtime.bytes, "default", self.place.runtime.detail),
        )
        return tuple(term for term in parts if term.bytes or term.name == "KV cache")

    def _ends(self, gpus: int) -> tuple[int, int]:
        after = self.weights.after + (self.weights.tied_copy if gpus > 1 else 0)
        return self.weights.before, after

    def _cache(self, context: int, batch: int) -> list[int]:
        known = {kind: layer_bytes(kind, context, batch, self.width) for kind in self._kinds}
        return [known[layer] for layer in self.model.attention]

    def _extra(self, context: int, batch: int) -> int:
        return activations(self.model, context, batch, self.width, self._unpacked).bytes

    def _ends_detail(self, share: Share, gpus: int) -> str:
        if not self.model.tied_embeddings:
            both = "embeddings" if not share.last else "head, final norm"
            return "embeddings, head, final norm" if share.first and share.last else both
        return "tied: once" if gpus == 1 else "tied: on the first and on the last GPU"

    def _cache_detail(self, context: int, batch: int) -> str:
        return (
            f"{summary(self.model.attention)}\n"
            f"batch {batch} × {context:,} tokens, {self.width} B a value; per layer by its kind (docs/fit.md)"
        )


def _largest(limit: int, goes: Callable[[int], bool]) -> int:
    """The largest of 1 to `limit` for which `goes` holds, 0 if for none; it holds up to some number."""
    if not goes(1):
        return 0
    if goes(limit):
        return limit
    low, high = 1, limit  # goes(low) holds, goes(high) does not
    while high - low > 1:
        middle = (low + high) // 2
        if goes(middle):
            low = middle
        else:
            high = middle
    return low
