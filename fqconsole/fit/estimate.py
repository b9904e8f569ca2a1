"""One model in one precision at some context and batch on some GPUs: bytes per GPU, and what follows."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from fqconsole.fit.activations import PREFILL_CHUNK, Activations, activations, slice_bytes
from fqconsole.fit.alike import Alike
from fqconsole.fit.details import ALLOCATOR_DETAIL, CPU_LAYOUT, GPU_LAYOUT, GRAPH_DETAIL, LOADING_DETAIL
from fqconsole.fit.kv import KV_BITS, SCALE_BYTES, cache_gaps, layer_bytes, summary
from fqconsole.fit.parts import Part, inner_widths, part_of, widths_of
from fqconsole.fit.pass_segments import full_context, pass_gaps
from fqconsole.fit.pieces import Precision
from fqconsole.fit.place import Place
from fqconsole.fit.scratch import Work, graph_pool, scratch
from fqconsole.fit.search import largest
from fqconsole.fit.split import Share, fits_within, split_layers
from fqconsole.fit.term import Term
from fqconsole.fit.weights import Weights, weights_on
from fqconsole.models.description import LayerAttention, ModelDescription
from fqconsole.models.division import split_of

Split = Literal["one", "tensor", "layer"]
MOST_BATCH = 1 << 16
CONTEXT_STEP = 256  # the largest context is given as a round number


class Shard(NamedTuple):
    """What one GPU has of the model: its weights, and the shapes that are left to it."""

    part: Part | None  # None: everything
    weights: Weights
    layers: tuple[int, ...]  # bytes of each layer, as they lie on the device
    model: ModelDescription  # heads and experts' features of its part, one layer of each kind
    dense: int
    routed: int


class Asked(NamedTuple):
    """What is asked about."""

    split: Split
    gpus: int
    context: int
    batch: int


class Load(NamedTuple):
    """What one GPU holds."""

    total: int
    weights: int  # as they lie on the device
    kv: int
    activations: int
    graph: int
    exchange: int
    loading: int  # what loading takes beyond cache and activations, which come after it
    allocator: int  # what torch reserves beside all tensors
    share: Share
    place: int  # which of the GPUs
    shard: Shard
    split: Split


class Estimate:
    """The arithmetic of one model in one precision in one kind of place.

    `rooms` are the free bytes of each GPU that may be used, in order.
    """

    def __init__(
        self, alike: Alike, precision: Precision, place: Place, kv_bits: int, split: Split | None = None
    ) -> None:
        model = alike.model
        self.model = model
        self.precision = precision
        self.place = place
        self.width = place.width
        self.fixed = place.runtime.bytes
        self._alike = alike
        self._kv_bits = kv_bits
        self._told = split
        self._widths = widths_of(alike.model, precision.pieces)
        counted = Counter(model.attention)
        self._kinds, self._counts = tuple(counted), tuple(counted.values())
        shapes = [piece.shape for piece in precision.pieces] if precision.quantized else []
        self._unpacked = slice_bytes(shapes, place.width, on_host=place.on_host)
        self._shards: dict[Part | None, Shard] = {}
        self._of_count: dict[int, list[Shard]] = {}
        self._worked: dict[tuple[Part | None, Split, int, int], tuple[int, int, int]] = {}
        self._passes: dict[tuple[Part | None, Split, int], int] = {}
        self.whole = self._shard(None)

    def splits(self, gpus: int) -> tuple[Split, ...]:
        """How a session on so many GPUs may split the model, the best way first."""
        if gpus == 1 or self._widths.family is None:
            return ("one",)
        ways: tuple[Split, ...] = ("layer",)
        if split_of(self._widths, gpus) == "tensor":
            ways = ("tensor", "layer")
        return tuple(way for way in ways if self._told in (None, way)) or ways

    def split(self, rooms: Sequence[int], context: int, batch: int) -> Split:
        """How a session on these GPUs splits the model: the best way in which it goes in."""
        ways = self.splits(len(rooms))
        goes = (way for way in ways if len(ways) == 1 or self._goes_as(way, rooms, context, batch))
        return next(goes, ways[0])

    def load(self, rooms: Sequence[int], context: int, batch: int) -> Load:
        """The GPU that is left with least, when the model is split as a session does it."""
        loads = self.loads(rooms, context, batch)
        return min(loads, key=lambda load: rooms[load.place] - load.total)

    def shares(self, rooms: Sequence[int], context: int, batch: int) -> tuple[Share, ...]:
        """The layers of each GPU, where they are split."""
        before, after, everywhere = self._ends(len(rooms))
        del everywhere  # the same on each
        return split_layers(self._layers(context, batch), before, after, rooms)

    def loads(self, rooms: Sequence[int], context: int, batch: int) -> list[Load]:
        """What each GPU holds that has something to do."""
        return self.loads_as(self.split(rooms, context, batch), rooms, context, batch)

    def loads_as(self, split: Split, rooms: Sequence[int], context: int, batch: int) -> list[Load]:
        """The same, split so."""
        gpus = len(rooms)
        asked = Asked(split, gpus, context, batch)
        every = Share(0, self.model.layers, first=True, last=True)
        if split == "one":
            return [self._load(self.whole, every, 0, asked)]
        if split == "tensor":
            return [self._load(shard, every, rank, asked) for rank, shard in enumerate(self._parts(gpus))]
        return [
            self._load(self.whole, share, place, asked)
            for place, share in enumerate(self.shares(rooms, context, batch))
            if share.used
        ]

    def step_bytes(self, load: Load, context: int, batch: int) -> int:
        """Bytes that a GPU with this load reads to make one token for each sequence, `context` tokens kept.

        All weights of its layers, of routed experts those that are chosen (by chance, if all are as likely),
        the head once, and the cache. Embeddings are looked up, not read through.
        """
        rows = slice(load.share.start, load.share.stop)
        weights = load.shard.weights
        layers = sum(load.shard.layers[rows]) - int(sum(weights.routed[rows]) * (1 - self._active(batch)))
        return layers + load.kv + (weights.read_last if load.share.last else 0)

    def decode_ceiling(
        self, speeds: Sequence[int], rooms: Sequence[int], context: int, batch: int
    ) -> tuple[int, float | None]:
        """Bytes read in one decode step, and the tokens a second that the memory's bandwidth allows at most.

        GPUs that share the matrices work on a step at once, those that share the layers one after the other.
        `speeds` are their bytes a second; None where one of them is not known.
        """
        loads = self.loads(rooms, context, batch)
        counts = [self.step_bytes(load, context, batch) for load in loads]
        seconds = [
            count / speeds[load.place] if speeds[load.place] else math.inf
            for load, count in zip(loads, counts, strict=True)
        ]
        step = max(seconds) if loads[0].split == "tensor" else sum(seconds)
        return sum(counts), batch / step if 0 < step < math.inf else None

    def _active(self, batch: int) -> float:
        """The part of the routed experts that at least one of `batch` tokens goes through."""
        if not self.model.experts:
            return 1.0
        passed_by = 1 - min(1.0, self.model.experts_per_token / self.model.experts)
        return float(1 - passed_by**batch)

    def goes(self, rooms: Sequence[int], context: int, batch: int) -> bool:
        """True when the model can be split so that no GPU holds more than its room."""
        return any(self._goes_as(split, rooms, context, batch) for split in self.splits(len(rooms)))

    def _goes_as(self, split: Split, rooms: Sequence[int], context: int, batch: int) -> bool:
        if split != "layer":
            loads = self.loads_as(split, rooms, context, batch)
            return all(load.total <= rooms[load.place] for load in loads)
        asked = Asked(split, len(rooms), context, batch)
        before, after, everywhere = self._ends(len(rooms))
        always = self.fixed + self._exchange(asked) + everywhere
        working = sum(self._working(self.whole, asked))
        running = [room - always - working for room in rooms]
        loading = [room - always - self.whole.weights.loading for room in rooms]
        loaded = [layer + self._gaps_of_weights(self.whole) for layer in self.whole.layers]
        return fits_within(self._layers(context, batch), before, after, running) and fits_within(
            loaded, before, after, loading
        )

    def largest_context(self, rooms: Sequence[int], batch: int) -> int:
        """Most tokens, up to the model's own limit, that go; 0 when none does."""
        limit = self.model.context_length
        found = largest(limit, lambda context: self.goes(rooms, context, batch))
        if CONTEXT_STEP <= found < limit:
            found -= found % CONTEXT_STEP
        return found

    def largest_batch(self, rooms: Sequence[int], context: int) -> int:
        """Most sequences at once that go; 0 when not even one does."""
        return largest(MOST_BATCH, lambda batch: self.goes(rooms, context, batch))

    def terms(self, load: Load, gpus: int, context: int, batch: int) -> tuple[Term, ...]:
        """What the fullest GPU holds, part by part; the parts sum up to its total."""
        weights = load.shard.weights
        rows = slice(load.share.start, load.share.stop)
        layout, layout_detail = CPU_LAYOUT if self.place.on_host else GPU_LAYOUT
        asked = Asked(load.split, gpus, context, batch)
        held = self._held_ends(load.share, weights, asked)
        peak = self._scratch(load.shard, asked)
        kept = weights.kept_words + _of(load)
        parts = (
            Term(self.precision.label, sum(weights.matrices[rows]), "headers", self.precision.detail),
            Term("kept in layers", sum(weights.kept[rows]), "headers", kept),
            Term("embeddings, head", held, "headers", self._ends_detail(load, gpus)),
            Term("KV cache", load.kv, "formula", self._cache_detail(load.shard, context, batch)),
            Term("activations", load.activations, "formula", peak.detail),
            Term(layout, sum(weights.layout[rows]), "formula", layout_detail),
            Term("CUDA graph", load.graph, "formula", GRAPH_DETAIL.format(batch)),
            Term("loading", load.loading, "formula", LOADING_DETAIL),
            Term("allocator", load.allocator, "formula", ALLOCATOR_DETAIL),
            self.place.runtime,
            msgspec.structs.replace(self.place.exchange, bytes=load.exchange),
        )
        return tuple(term for term in parts if term.bytes or term.name == "KV cache")

    def _shard(self, part: Part | None) -> Shard:
        found = self._shards.get(part)
        if found is None:
            found = self._shards[part] = self._made(part)
        return found

    def _parts(self, gpus: int) -> list[Shard]:
        """What each of so many GPUs has that share the matrices."""
        if gpus not in self._of_count:
            parts = [part_of(self._widths, self.model.vocab_size, rank, gpus) for rank in range(gpus)]
            self._of_count[gpus] = [self._shard(part) for part in parts]
        return self._of_count[gpus]

    def _made(self, part: Part | None) -> Shard:
        family = self._widths.family
        pieces = self.precision.pieces
        routed = inner_widths(family, pieces, routed=True)
        dense = inner_widths(family, pieces, routed=False)
        weights = weights_on(self._alike, pieces, self.place, part)
        model = msgspec.structs.replace(self.model, attention=self._kinds, tensors=())
        widest, expert = max(dense, default=0), max(routed, default=0)
        if part is None:
            return Shard(part, weights, weights.held, model, widest, expert)
        own, all_heads = part.heads
        attention = tuple(_with_heads(layer, own, all_heads) for layer in self._kinds)
        shared = msgspec.structs.replace(model, heads=model.heads * own // all_heads, attention=attention)
        return Shard(part, weights, weights.held, shared, part.inner_of(widest), part.inner_of(expert))

    def _load(self, shard: Shard, share: Share, place: int, asked: Asked) -> Load:
        rows = slice(share.start, share.stop)
        stored = sum(shard.layers[rows]) + self._held_ends(share, shard.weights, asked)
        kept = self._cache_of(shard, rows, asked.context, asked.batch)
        scratched, graph, between = self._working(shard, asked)
        between += self._gaps_of_cache(shard, asked.context, asked.batch) * (share.stop - share.start)
        exchange = self._exchange(asked)
        loading = max(0, shard.weights.loading - kept - scratched - graph - between)
        allocator = between + self._gaps_of_weights(shard) * (share.stop - share.start)
        total = stored + kept + scratched + graph + exchange + loading + allocator + self.fixed
        return Load(
            total, stored, kept, scratched, graph, exchange, loading, allocator, share, place, shard,
            asked.split,
        )  # fmt: skip

    def _layers(self, context: int, batch: int) -> list[int]:
        cache = self._cache(context, batch)
        gaps = self._gaps_of_weights(self.whole) + self._gaps_of_cache(self.whole, context, batch)
        return [a + b + gaps for a, b in zip(self.whole.layers, cache, strict=True)]

    def _ends(self, gpus: int) -> tuple[int, int, int]:
        """Bytes on the first GPU, on the last, and on each, where layers are split: what is embedding and
        head at once is on each, and so is what else lies in no layer.
        """
        weights = self.whole.weights
        if gpus == 1:
            return weights.embedding, weights.head + weights.outside, 0
        if weights.tied:
            return 0, 0, weights.ends
        return weights.embedding, weights.head, weights.outside

    def _held_ends(self, share: Share, weights: Weights, asked: Asked) -> int:
        if asked.split != "layer":
            return weights.ends
        before, after, everywhere = self._ends(asked.gpus)
        return everywhere + (before if share.first else 0) + (after if share.last else 0)

    def _kinds_of_cache(self, shard: Shard, context: int, batch: int) -> dict[LayerAttention, int]:
        own = zip(self._kinds, shard.model.attention, strict=True)
        return {kind: layer_bytes(layer, context, batch, self.width, self._kv_bits) for kind, layer in own}

    def _cache(self, context: int, batch: int) -> list[int]:
        """Bytes of each layer's keys and values, on a GPU that has all of it."""
        known = self._kinds_of_cache(self.whole, context, batch)
        return [known[layer] for layer in self.model.attention]

    def _cache_of(self, shard: Shard, rows: slice, context: int, batch: int) -> int:
        known = self._kinds_of_cache(shard, context, batch)
        if len(known) == 1:
            return known[self._kinds[0]] * len(self.model.attention[rows])
        return sum(known[layer] for layer in self.model.attention[rows])

    def _gaps_of_weights(self, shard: Shard) -> int:
        """What torch reserves beside one layer's weights, each having as much of it."""
        return -(-shard.weights.gaps // max(1, self.model.layers))

    def _gaps_of_cache(self, shard: Shard, context: int, batch: int) -> int:
        """The same beside its keys and values."""
        if self.place.on_host:
            return 0
        layers = zip(shard.model.attention, self._counts, strict=True)
        gaps = cache_gaps(layers, context, batch, self.width, self._kv_bits)
        return -(-gaps // max(1, self.model.layers))

    def _gaps_of_pass(self, part: Part | None, work: Work, asked: Asked) -> int:
        """The same beside the tensors of a pass, as much less as it has fewer rows."""
        key = part, asked.split, full_context(work.model, asked.context)
        if key not in self._passes:
            self._passes[key] = pass_gaps(work, key[2], self.place)
        return self._passes[key] * min(asked.batch * asked.context, PREFILL_CHUNK) // PREFILL_CHUNK

    def _working(self, shard: Shard, asked: Asked) -> tuple[int, int, int]:
        """Bytes of scratch, of the captured step, and of what torch reserves beside scratch."""
        key = shard.part, asked.split, asked.context, asked.batch
        found = self._worked.get(key)
        if found is None:
            work = self._work(shard, asked.split)
            graph = gaps = 0
            if work is not None:
                graph = graph_pool(work, asked.context, asked.batch, self.place)
                gaps = self._gaps_of_pass(shard.part, work, asked)
            found = self._worked[key] = self._scratch(shard, asked).bytes, graph, gaps
        return found

    def _scratch(self, shard: Shard, asked: Asked) -> Activations:
        work = self._work(shard, asked.split)
        if work is not None:
            return scratch(work, asked.context, asked.batch, self.place)
        return activations(shard.model, asked.context, asked.batch, self.width, self._unpacked)

    def _work(self, shard: Shard, split: Split) -> Work | None:
        """None where transformers' forward runs."""
        family = self._widths.family
        if family is None:
            return None
        quantized, shared_out = self.precision.quantized, split == "tensor"
        return Work(shard.model, family, quantized, shard.dense, shard.routed, shared_out, self._unpacked)

    def _exchange(self, asked: Asked) -> int:
        return 0 if asked.split == "one" or self.place.on_host else self.place.exchange.bytes

    def _ends_detail(self, load: Load, gpus: int) -> str:
        if load.split == "tensor":
            return "a part of the vocabulary" if self.model.vocab_size % gpus == 0 else "whole on each GPU"
        if self.whole.weights.tied:
            return "tied: once" if load.split == "one" else "tied: on each GPU"
        if load.share.first and load.share.last:
            return "embeddings, head, final norm"
        return "embeddings" if load.share.first else "head, final norm" if load.share.last else "final norm"

    def _cache_detail(self, shard: Shard, context: int, batch: int) -> str:
        coded = self._kv_bits < KV_BITS[0]
        values = f"1 B a value and {SCALE_BYTES} B of scales a head" if coded else f"{self.width} B a value"
        layers = dict(zip(self._kinds, shard.model.attention, strict=True))
        return (
            f"{summary([layers[layer] for layer in self.model.attention])}\n"
            f"batch {batch} × {context:,} tokens, {values}; per layer by its kind (docs/fit.md)"
        )


def _of(load: Load) -> str:
    if load.split == "layer":
        return f" of layers {load.share.start}-{load.share.stop - 1}"
    return ", and of every matrix its part" if load.split == "tensor" else ""


def _with_heads(layer: LayerAttention, own: int, every: int) -> LayerAttention:
    return msgspec.structs.replace(layer, kv_heads=layer.kv_heads * own // every)
