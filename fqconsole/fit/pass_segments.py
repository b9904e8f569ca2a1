"""What the tensors of one pass take of torch's segments, more than are there at once.

A pass takes and gives back tensors of many sizes, and what one leaves may be too small for the next: it
stays torch's. Two layers of each kind are followed tensor by tensor through a full pass, in the order of
`fqconsole.generation.layers`; after them nothing new is asked for.
"""

from collections.abc import Callable, Iterable

from fqconsole.fit.activations import PREFILL_CHUNK
from fqconsole.fit.allocator import Allocator
from fqconsole.fit.place import Place
from fqconsole.fit.scratch import Work, adds_sums, scratch, slice_of
from fqconsole.models.description import LayerAttention, ModelDescription

LAYERS = 2
ROUTED_TILE, LARGE_TILE = 128, 256  # rows that kernels.wide_tiles chooses for few and for many of an expert


def full_context(model: ModelDescription, context: int) -> int:
    """The shortest context with passes of PREFILL_CHUNK rows that takes the same tensors as `context`."""
    context = max(context, PREFILL_CHUNK)
    if any(layer.kind == "mla" for layer in model.attention):
        return context
    windows = (layer.window for layer in model.attention if layer.window is not None)
    return max(PREFILL_CHUNK, *(window + 1 for window in windows if window < context), 0)


def pass_gaps(work: Work, context: int, place: Place) -> int:
    """Bytes of segments beyond what the largest phase of a full pass counts; 0 on a CPU."""
    if place.on_host:
        return 0
    counted = scratch(work, context, 1, place).parts[0][1]
    return max(0, pass_segments(work, context, place) - counted)


def pass_segments(work: Work, context: int, place: Place) -> int:
    """Bytes of segments that passes of PREFILL_CHUNK rows come to on a GPU."""
    layers = dict.fromkeys(layer for layer in work.model.attention if layer.kind != "linear")
    walk = _Walk(work, context, place)
    for _ in range(LAYERS):
        for layer in layers:
            walk.layer(layer)
    return walk.allocator.reserved


def gathered_rows(rows: int, experts: int) -> int:
    """Room that the kernels take for routed rows expert by expert, the last tile of each filled up."""
    tile = LARGE_TILE if rows > ROUTED_TILE * experts else ROUTED_TILE
    return rows + experts * (tile - 1)


class _Walk:
    """Goes through layers with the residual in hand."""

    def __init__(self, work: Work, context: int, place: Place) -> None:
        self.allocator = Allocator()
        self._work = work
        self._context = context
        self._place = place
        self._adds = adds_sums(work, place)
        self._line = self._rows(work.model.hidden_size)
        self._stream = self._take([self._line])

    def layer(self, attention: LayerAttention) -> None:
        """Attention, then the MLP or the experts."""
        normed = self._block(lambda: self._attention(attention), [])
        feed = self._experts if self._work.routed else self._mlp
        self._give(self._block(feed, normed))

    def _block(self, inside: Callable[[], int], normed: list[int]) -> list[int]:
        """One of the two with what is around it; returns the row that it read, where that is still held."""
        if self._adds:
            read = self._take([self._line])
            out = inside()
            total = self._take([self._line])
            self._give([out, *read, *self._stream])
            self._stream = total
            return []
        total = self._take([self._line] * (len(self._stream) > 1))
        read = self._take([self._line])
        self._give(normed)
        out = inside()
        hidden = total or self._stream
        self._give(block for block in self._stream if block not in hidden)
        self._stream = [*hidden, out]
        return read

    def _attention(self, layer: LayerAttention) -> int:
        model, heads = self._work.model, self._work.model.heads
        pair = layer.kv_heads * (layer.head_dim + layer.value_head_dim)
        latent = layer.latent_dim or 0
        held = self._product(heads * layer.head_dim + (latent or pair), model.hidden_size)
        if layer.window is not None and layer.window < self._context:
            chunk = PREFILL_CHUNK + layer.window
            each = (layer.head_dim, layer.value_head_dim)
            held += self._take([chunk * layer.kv_heads * columns * self._place.width for columns in each])
        if latent:
            made = (layer.head_dim, layer.head_dim, layer.value_head_dim)
            held += self._take([self._context * heads * columns * self._place.width for columns in made])
        held += self._take([self._rows(heads * layer.head_dim), self._rows(heads * layer.value_head_dim)])
        (out,) = self._product(model.hidden_size, heads * layer.value_head_dim)
        self._give(held)
        return out

    def _mlp(self) -> int:
        hidden, inner = self._work.model.hidden_size, self._work.dense
        gated = self._work.family.gated
        first = self._product((2 if gated else 1) * inner, hidden)
        passing = self._take([self._rows(inner)] * (gated and not self._work.quantized))
        acted = self._take([self._rows(inner)])
        self._give([*first, *passing])
        (out,) = self._product(hidden, inner)
        self._give(acted)
        return out

    def _experts(self) -> int:
        return self._packed_experts() if self._work.quantized else self._wide_experts()

    def _packed_experts(self) -> int:
        """In the kernels, which put the rows in their own order before each product."""
        model, inner = self._work.model, self._work.routed
        k = model.experts_per_token
        raised = self._take([self._rows(2 * k * inner)])
        self._give(self._take([self._ordered(model.hidden_size)]))
        acted = self._take([self._rows(k * inner)])
        self._give(raised)
        lowered = self._take([self._rows(k * model.hidden_size)])
        self._give([*self._take([self._ordered(inner)]), *acted])
        (out,) = self._take([self._line])
        self._give(lowered)
        return out

    def _wide_experts(self) -> int:
        """In 16 bits, as transformers does it."""
        inner, k = self._work.routed, self._work.model.experts_per_token
        line = self._rows(k * self._work.model.hidden_size)
        chosen = self._take([line])
        raised = self._take([self._rows(2 * k * inner), self._rows(k * inner)])
        acted = self._take([self._rows(k * inner)])
        self._give(raised)
        lowered = self._take([line, line])
        self._give([*chosen, *acted])
        (out,) = self._take([self._line])
        self._give(lowered)
        return out

    def _ordered(self, columns: int) -> int:
        model = self._work.model
        rows = gathered_rows(PREFILL_CHUNK * model.experts_per_token, model.experts)
        return rows * columns * self._place.width

    def _product(self, n: int, k: int) -> list[int]:
        """The result `[rows, n]`; of a packed matrix there is its slice in 16 bits meanwhile."""
        unpacked = self._take([slice_of(self._work, k, self._place)] if self._work.quantized else [])
        out = self._take([self._rows(n)])
        self._give(unpacked)
        return out

    def _rows(self, columns: int) -> int:
        return PREFILL_CHUNK * columns * self._place.width

    def _take(self, sizes: Iterable[int]) -> list[int]:
        return [self.allocator.take(size) for size in sizes if size]

    def _give(self, blocks: Iterable[int]) -> None:
        for block in list(blocks):
            self.allocator.give(block)
