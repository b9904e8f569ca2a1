"""Every precision × GPU count of one model: what each GPU would hold, and whether that fits."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from fqconsole.errors import UsageError
from fqconsole.fit.alike import Alike, one_of_each
from fqconsole.fit.capacity import Capacity
from fqconsole.fit.estimate import Estimate, Split
from fqconsole.fit.kv import KV_BITS
from fqconsole.fit.pieces import GroupSize, planned, stored
from fqconsole.fit.place import place_of
from fqconsole.fit.quantize_peak import quantize_peak
from fqconsole.fit.term import Term
from fqconsole.models.description import ModelDescription

MARGIN = 0.05  # of the free memory: what the estimate may miss
MEASURED_MARGIN = 0.03
DEFAULT_CONTEXT = 8192
PRECISIONS = (16, 8, 4, 3)
MORE_GPUS = (2, 4, 8, 16, 32, 64)  # what is offered where nothing that was asked about is enough

Verdict = Literal["fits", "tight", "does not fit"]
SplitWord = Literal["all on one", "tensor parallel", "layers"]
SPLIT_WORDS: dict[Split, SplitWord] = {
    "one": "all on one",
    "tensor": "tensor parallel",
    "layer": "layers",
}


class Option(msgspec.Struct, frozen=True):
    """One precision on some GPUs; all bytes are those of the fullest GPU (on the host: of the process)."""

    bits: int
    gpus: int
    terms: tuple[Term, ...]
    weights_bytes: int  # as they lie there: with what the device's layout takes on top
    kv_bytes: int
    activation_bytes: int
    runtime_bytes: int  # the process itself
    total_bytes_per_gpu: int
    capacity_bytes: int
    verdict: Verdict
    smallest_change: str  # empty when it fits
    largest_context: int  # at this batch, margin kept; 0: not even one token
    largest_batch: int  # at this context, margin kept
    model_bytes: int = 0  # weights of the whole model as stored, over all GPUs
    layers_bytes: int = 0  # of them in the numbered layers: without embeddings, head, and what lies outside
    loading_bytes: int = 0  # what loading takes beyond cache and activations, which come after it
    step_bytes: int = 0  # read by all GPUs for one decode step at this context and batch
    decode_tok_s: float | None = None  # of all sequences: no decode can be faster; None: bandwidth unknown
    graph_bytes: int = 0  # the captured decode step
    exchange_bytes: int = 0  # NCCL's own
    allocator_bytes: int = 0  # what torch's allocator reserves beside all tensors
    split: SplitWord = "all on one"  # or each has a part of every matrix, or some of the layers

    @property
    def left_bytes(self) -> int:
        """Free bytes after loading; negative when it does not fit."""
        return self.capacity_bytes - self.total_bytes_per_gpu


class FitPreview(msgspec.Struct, frozen=True):
    """Every option asked for, at one context and batch."""

    model: str
    context: int
    batch: int
    capacity: Capacity
    options: tuple[Option, ...]
    largest_context: int  # of all options
    quantize_peak: int  # bytes where the quantize job's arithmetic runs: one GPU, or the host
    quantize_terms: tuple[Term, ...] = ()
    margin: float = MARGIN

    def option(self, bits: int, gpus: int) -> Option:
        """The option of a precision on a number of GPUs (the host counts as one). Raises UsageError."""
        wanted = 1 if self.capacity.kind == "host" else gpus
        for option in self.options:
            if option.bits == bits and option.gpus == wanted:
                return option
        raise UsageError(
            f"There is no option of {bits} bits on {gpus} GPUs.", "Ask for it with --bits and --gpus."
        )


def preview(
    description: ModelDescription,
    capacity: Capacity,
    *,
    bits: Sequence[int] = PRECISIONS,
    gpu_counts: Sequence[int] = (1, 2, 4, 8),
    context: int | None = None,
    batch: int = 1,
    group_size: GroupSize = "default",
    kv_bits: int = 16,
    head: int = 16,
    split: Split | None = None,
) -> FitPreview:
    """What generating with `description` takes, for each of `bits` (16 = as stored) on each of `gpu_counts`.

    `context` None is min(8192, the model's own limit). On the host there is one place, so `gpu_counts` does
    not matter; an already quantized model has one precision, its own, so `bits` does not matter. An adaptive
    plan is previewed at its base groups, which is the least it can come to. `kv_bits` 8: keys and values in
    int8, as sessions with a forward of their own keep them when asked. `head`: bits of the output head of a
    model that is quantized to `bits`. `split`: how several GPUs are told to
    split the model, None: as suits.
    Raises UsageError for numbers that make no sense, a context beyond the model's, and a head that can't be
    packed.
    """
    tokens = min(DEFAULT_CONTEXT, description.context_length) if context is None else context
    _check(description, tokens, batch, bits, gpu_counts)
    if kv_bits not in KV_BITS:
        raise UsageError(f"Keys and values can't be kept in {kv_bits} bits.", "Use 16 or 8.")
    counts = (1,) if capacity.kind == "host" else tuple(dict.fromkeys(gpu_counts))
    alike = one_of_each(description)
    estimates = _estimates(alike, capacity, bits, group_size, kv_bits, head=head, split=split)
    grid = _Grid(capacity, estimates, counts, tokens, batch)
    options = tuple(grid.option(estimate, gpus) for estimate in estimates for gpus in counts)
    peak = quantize_peak(alike.model, capacity)
    return FitPreview(
        model=description.id,
        context=tokens,
        batch=batch,
        capacity=capacity,
        options=options,
        largest_context=max(option.largest_context for option in options),
        quantize_peak=sum(term.bytes for term in peak),
        quantize_terms=peak,
        margin=margin_of(capacity),
    )


class SessionSplit(NamedTuple):
    """How a session on several GPUs splits its model; `ends` are where each GPU's layers end."""

    split: Split
    ends: tuple[int, ...]


def session_split(
    description: ModelDescription,
    capacity: Capacity,
    rooms: Sequence[int],
    *,
    context: int | None = None,
    kv_bits: int = 16,
) -> SessionSplit:
    """What the preview reckons with, for a session to do: a part of every matrix on each GPU where that goes
    in, or else where layers don't go in either; `ends` tell of the layers whatever the split.

    `rooms` are the free bytes of the GPUs in their order; `capacity` says what kind of place they are.
    """
    tokens = min(DEFAULT_CONTEXT, description.context_length) if context is None else context
    (estimate,) = _estimates(one_of_each(description), capacity, PRECISIONS[:1], "default", kv_bits)
    margin = margin_of(capacity)
    left = [room - int(room * margin) for room in rooms]
    ends = tuple(share.stop for share in estimate.shares(left, tokens, 1))
    return SessionSplit(estimate.split(left, tokens, 1), ends)


def margin_of(capacity: Capacity) -> float:
    """Of the free memory: narrower where what is not arithmetic was measured."""
    return MARGIN if capacity.runtime is None else MEASURED_MARGIN


def _estimates(
    alike: Alike,
    capacity: Capacity,
    bits: Sequence[int],
    group_size: GroupSize,
    kv_bits: int,
    *,
    head: int = 16,
    split: Split | None = None,
) -> tuple[Estimate, ...]:
    model = alike.model
    place = place_of(model, capacity)
    if model.quantization is not None:
        precisions = [stored(alike, place.width)]
    else:
        precisions = [planned(alike, number, group_size, place.width, head) for number in dict.fromkeys(bits)]
    return tuple(Estimate(alike, precision, place, kv_bits, split) for precision in precisions)


def _check(
    model: ModelDescription, context: int, batch: int, bits: Sequence[int], gpu_counts: Sequence[int]
) -> None:
    if context < 1 or batch < 1 or not gpu_counts or min(gpu_counts) < 1 or not bits:
        raise UsageError("Context, batch and GPU counts start at 1.", "Give numbers of 1 and more.")
    if context > model.context_length:
        raise UsageError(
            f"{model.id} reads at most {model.context_length:,} tokens, not {context:,}.",
            f"Choose a context up to {model.context_length:,}.",
        )
    unknown = [number for number in bits if number not in PRECISIONS]
    if unknown:
        known = ", ".join(str(number) for number in PRECISIONS)
        raise UsageError(f"There is no {unknown[0]}-bit precision.", f"Choose of {known}.")


class _Grid:
    """The options of one preview, and the search for the smallest change among them."""

    def __init__(
        self,
        capacity: Capacity,
        estimates: Sequence[Estimate],
        counts: Sequence[int],
        context: int,
        batch: int,
    ) -> None:
        self.capacity = capacity
        self.estimates = estimates
        self.counts = counts
        self.context = context
        self.batch = batch

    def option(self, estimate: Estimate, gpus: int) -> Option:
        rooms = self._rooms(gpus)
        load = estimate.load(rooms, self.context, self.batch)
        free = self.capacity.rooms(gpus)[load.place]
        within = load.total <= rooms[load.place]
        verdict: Verdict = "fits" if within else "tight" if load.total <= free else "does not fit"
        largest = estimate.largest_context(rooms, self.batch)
        change = "" if verdict == "fits" else self._smallest_change(estimate, gpus, largest)
        speeds = self.capacity.bandwidths(gpus)
        read, ceiling = estimate.decode_ceiling(speeds, rooms, self.context, self.batch)
        return Option(
            bits=estimate.precision.bits,
            gpus=gpus,
            terms=estimate.terms(load, gpus, self.context, self.batch),
            weights_bytes=load.weights,
            kv_bytes=load.kv,
            activation_bytes=load.activations,
            runtime_bytes=estimate.fixed,
            total_bytes_per_gpu=load.total,
            capacity_bytes=free,
            verdict=verdict,
            smallest_change=change,
            largest_context=largest,
            largest_batch=estimate.largest_batch(rooms, self.context),
            model_bytes=estimate.whole.weights.total,
            layers_bytes=estimate.whole.weights.layers,
            loading_bytes=load.loading,
            step_bytes=read,
            decode_tok_s=ceiling,
            graph_bytes=load.graph,
            exchange_bytes=load.exchange,
            allocator_bytes=load.allocator,
            split=SPLIT_WORDS[load.split],
        )

    def _rooms(self, gpus: int) -> tuple[int, ...]:
        """Bytes that may be used on each GPU with the margin kept."""
        return self.capacity.rooms(gpus, margin_of(self.capacity))

    def _goes(self, estimate: Estimate, gpus: int, batch: int | None = None) -> bool:
        return estimate.goes(self._rooms(gpus), self.context, batch or self.batch)

    def _smallest_change(self, estimate: Estimate, gpus: int, largest_context: int) -> str:
        """`int4, or 2 GPUs, or context ≤ 21,504`: each alone would make it fit; else two that do together."""
        bits = estimate.precision.bits
        narrower = sorted((e for e in self.estimates if e.precision.bits < bits), key=_bits, reverse=True)
        more = [count for count in sorted(self.counts) if count > gpus]
        words = [f"int{_bits(e)}" for e in narrower if self._goes(e, gpus)][:1]
        words += [f"{count} GPUs" for count in more if self._goes(estimate, count)][:1]
        if 0 < largest_context < self.context:
            words.append(f"context ≤ {largest_context:,}")
        if self.batch > 1 and self._goes(estimate, gpus, 1):
            words.append(f"batch {estimate.largest_batch(self._rooms(gpus), self.context)}")
        if words:
            return ", or ".join(words)
        beyond = () if self.capacity.kind == "host" else [n for n in MORE_GPUS if n > max(self.counts)]
        for count in (*more, *beyond):
            if self._goes(estimate, count):
                return f"{count} GPUs"
            for other in narrower:
                if self._goes(other, count):
                    return f"int{_bits(other)} on {count} GPUs"
        return "a smaller model or more memory: nothing offered here is enough"


def _bits(estimate: Estimate) -> int:
    return estimate.precision.bits
