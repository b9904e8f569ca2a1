"""One model in one precision at some context and batch on some GPUs: bytes per GPU, and what follows."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from fqconsole.fit.activations import activations
from fqconsole.fit.capacity import Capacity
from fqconsole.fit.kv import KV_BITS, SCALE_BYTES, layer_bytes, summary
from fqconsole.fit.place import Place
from fqconsole.fit.split import Share, fits_within, split_layers
from fqconsole.fit.term import Term
from fqconsole.fit.weights import Weights
from fqconsole.models.description import ModelDescription

CPU_LAYOUT = (
    "CPU layout",
    "what the CPU's operators take on top\n"
    "half a byte a weight (int8: one), and 4 B a group for scale and zero (docs/fit.md)",
)
GPU_LAYOUT = (
    "GPU layout",
    "what the kernels' order takes on top\n"
    "rows in tiles of 16, columns in steps of 256 (int8: 128), scales for each step (docs/fit.md)",
)
LOADING_DETAIL = (
    "what the largest matrix takes besides while it is loaded, beyond cache and activations\n"
    "as it is stored; of experts one by one, gate and up twice (docs/fit.md)"
)
MOST_BATCH = 1 << 16
CONTEXT_STEP = 256  # the largest context is given as a round number


class Load(NamedTuple):
    """What one GPU holds."""

    total: int
    weights: int  # as they lie on the device
    kv: int
    activations: int
    loading: int  # what loading takes beyond cache and activations, which come after it
    share: Share
    place: int  # which of the GPUs


class Estimate:
    """The arithmetic of one model in one precision in one kind of place.

    `rooms` are the free bytes of each GPU that may be used, in order.
    """

    def __init__(self, model: ModelDescription, weights: Weights, place: Place, kv_bits: int = 16) -> None:
        self.model = model
        self.weights = weights
        self.place = place
        self.width = place.width
        self._kv_bits = kv_bits
        self._unpacked = place.unpacked if weights.quantized else 0
        self.fixed = place.runtime.bytes
        self._loading = weights.loading
        parts = zip(weights.matrices, weights.kept, weights.layout, strict=True)
        self._stored = [a + b + c for a, b, c in parts]
        self._kinds = tuple(dict.fromkeys(model.attention))
        # Activations are those of the largest layer: one of each kind is enough to look at.
        self._brief = msgspec.structs.replace(model, attention=self._kinds, tensors=())

    def load(self, rooms: Sequence[int], context: int, batch: int) -> Load:
        """The GPU that is left with least, when the layers are split as well as they can be."""
        loads = self.loads(rooms, context, batch)
        return min(loads, key=lambda load: rooms[load.place] - load.total)

    def shares(self, rooms: Sequence[int], context: int, batch: int) -> tuple[Share, ...]:
        """The layers of each GPU."""
        layers = [a + b for a, b in zip(self._stored, self._cache(context, batch), strict=True)]
        before, after = self._ends(len(rooms))
        return split_layers(layers, before, after, rooms)

    def loads(self, rooms: Sequence[int], context: int, batch: int) -> list[Load]:
        """What each GPU holds that has something to do."""
        cache = self._cache(context, batch)
        before, after = self._ends(len(rooms))
        extra = self._extra(context, batch)
        found = []
        for place, share in enumerate(self.shares(rooms, context, batch)):
            if not share.used:
                continue
            stored = sum(self._stored[share.start : share.stop])
            stored += (before if share.first else 0) + (after if share.last else 0)
            kept = sum(cache[share.start : share.stop])
            loading = max(0, self._loading - kept - extra)
            total = stored + kept + extra + loading + self.fixed
            found.append(Load(total, stored, kept, extra, loading, share, place))
        return found

    def step_bytes(self, share: Share, context: int, batch: int) -> int:
        """Bytes that a GPU with this share reads to make one token for each sequence, `context` tokens kept.

        All weights of its layers, of routed experts those that are chosen (by chance, if all are as likely),
        the head once, and the cache. Embeddings are looked up, not read through.
        """
        rows = slice(share.start, share.stop)
        layers = sum(self._stored[rows]) - int(sum(self.weights.routed[rows]) * (1 - self._active(batch)))
        return layers + sum(self._cache(context, batch)[rows]) + (self.weights.head if share.last else 0)

    def decode_ceiling(
        self, capacity: Capacity, gpus: int, context: int, batch: int
    ) -> tuple[int, float | None]:
        """Bytes read in one decode step, and the tokens a second that the memory's bandwidth allows at most.

        One GPU works after the other on a step. None where the bandwidth of one of them is not known.
        """
        speeds = capacity.bandwidths(gpus)
        read, seconds = 0, 0.0
        for load in self.loads(capacity.rooms(gpus), context, batch):
            count = self.step_bytes(load.share, context, batch)
            read += count
            seconds += count / speeds[load.place] if speeds[load.place] else math.inf
        return read, batch / seconds if 0 < seconds < math.inf else None

    def _active(self, batch: int) -> float:
        """The part of the routed experts that at least one of `batch` tokens goes through."""
        if not self.model.experts:
            return 1.0
        passed_by = 1 - min(1.0, self.model.experts_per_token / self.model.experts)
        return float(1 - passed_by**batch)

    def goes(self, rooms: Sequence[int], context: int, batch: int) -> bool:
        """True when no GPU holds more than its room."""
        layers = [a + b for a, b in zip(self._stored, self._cache(context, batch), strict=True)]
        before, after = self._ends(len(rooms))
        paid = self.fixed + self._extra(context, batch)
        loaded = self.fixed + self._loading
        return fits_within(layers, before, after, [room - paid for room in rooms]) and fits_within(
            self._stored, before, after, [room - loaded for room in rooms]
        )

    def largest_context(self, rooms: Sequence[int], batch: int) -> int:
        """Most tokens, up to the model's own limit, that go; 0 when none does."""
        limit = self.model.context_length
        found = _largest(limit, lambda context: self.goes(rooms, context, batch))
        if CONTEXT_STEP <= found < limit:
            found -= found % CONTEXT_STEP
        return found

    def largest_batch(self, rooms: Sequence[int], context: int) -> int:
        """Most sequences at once that go; 0 when not even one does."""
        return _largest(MOST_BATCH, lambda batch: self.goes(rooms, context, batch))

    def terms(self, load: Load, gpus: int, context: int, batch: int) -> tuple[Term, ...]:
        """What the fullest GPU holds, part by part; the parts sum up to its total."""
        share = load.share
        weights = self.weights
        rows = slice(share.start, share.stop)
        before, after = self._ends(gpus)
        ends = (before if share.first else 0) + (after if share.last else 0)
        of = "" if gpus == 1 else f" of layers {share.start}-{share.stop - 1}"
        peak = activations(self._brief, context, batch, self.width, self._unpacked)
        layout, layout_detail = CPU_LAYOUT if self.place.on_host else GPU_LAYOUT
        parts = (
            Term(weights.label, sum(weights.matrices[rows]), "headers", weights.detail),
            Term("kept in layers", sum(weights.kept[rows]), "headers", weights.kept_detail + of),
            Term("embeddings, head", ends, "headers", self._ends_detail(share, gpus)),
            Term("KV cache", load.kv, "formula", self._cache_detail(context, batch)),
            Term("activations", load.activations, "formula", peak.detail),
            Term(layout, sum(weights.layout[rows]), "formula", layout_detail),
            Term("loading", load.loading, "formula", LOADING_DETAIL),
            self.place.runtime,
        )
        return tuple(term for term in parts if term.bytes or term.name == "KV cache")

    def _ends(self, gpus: int) -> tuple[int, int]:
        after = self.weights.after + (self.weights.tied_copy if gpus > 1 else 0)
        return self.weights.before, after

    def _cache(self, context: int, batch: int) -> list[int]:
        known = {kind: layer_bytes(kind, context, batch, self.width, self._kv_bits) for kind in self._kinds}
        return [known[layer] for layer in self.model.attention]

    def _extra(self, context: int, batch: int) -> int:
        return activations(self._brief, context, batch, self.width, self._unpacked).bytes

    def _ends_detail(self, share: Share, gpus: int) -> str:
        if not self.model.tied_embeddings:
            both = "embeddings" if not share.last else "head, final norm"
            return "embeddings, head, final norm" if share.first and share.last else both
        return "tied: once" if gpus == 1 else "tied: on the first and on the last GPU"

    def _cache_detail(self, context: int, batch: int) -> str:
        coded = self._kv_bits < KV_BITS[0]
        values = f"1 B a value and {SCALE_BYTES} B of scales a head" if coded else f"{self.width} B a value"
        return (
            f"{summary(self.model.attention)}\n"
            f"batch {batch} × {context:,} tokens, {values}; per layer by its kind (docs/fit.md)"
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
