"""What a pass through transformers' forward needs beside weights and cache, as an upper bound.

Our own forward, which runs for most families, is counted in `scratch`. A prompt goes through in pieces of at
most PREFILL_CHUNK tokens, only the last row becomes logits, and one layer is at work at a time; so with
R = batch · min(context, PREFILL_CHUNK) rows and B bytes a value the most is one of

    attention   R · (2 hidden · B + 2 hidden · 4 + (3 heads · d + 2 kv_heads · (d + v)) · B)
                + keys and values repeated to all heads, where a piece is not the whole prompt or the cache
                  is a latent: batch · context · heads · (d + v) · B        + the mask R · context · B
    mlp         R · (2 hidden · B + 2 hidden · 4 + 3 inner · B), with experts: experts_per_token times the
                expert's inner width, and its input and output rows
    logits      batch · vocabulary · (B + 4 · 4): the row, its float32 form, and what sampling makes of it

(the residual and the normed rows, the norm's float32 form, and the matrices' outputs), plus the growth of the
cache (kv.growth_bytes), plus, for a quantized model, the slice of 16-bit rows that a long prompt meets.
"""

from collections.abc import Iterable
from typing import NamedTuple

from fqconsole.fit.kv import growth_bytes, kept_tokens
from fqconsole.fit.sizes import size
from fqconsole.models.description import LayerAttention, ModelDescription

PREFILL_CHUNK = 2048  # fqconsole.generation.decoding.PREFILL_CHUNK: a test compares them
FLOAT_BYTES = 4
# What a long prompt is multiplied with at a time; a test compares both with the kernels'.
HOST_SLICE_BYTES = 2 << 20
GPU_SLICE_ROWS = 2048


class Activations(NamedTuple):
    """The largest phase of a pass in bytes, and what comes on top; `rows`: tokens that go through at once."""

    rows: str
    parts: tuple[tuple[str, int], ...]  # the phase comes first

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(count for _, count in self.parts)

    @property
    def detail(self) -> str:
        """A sentence about it, and the parts."""
        parts = ", ".join(f"{name} {size(count)}" for name, count in self.parts if count)
        return f"{self.rows}: {self.parts[0][0]} is the largest phase\n{parts}"


def activations(
    model: ModelDescription, context: int, batch: int, width: int, unpacked: int = 0
) -> Activations:
    """The peak of one forward pass of transformers; `width`: bytes of one value, `unpacked`: of the slice."""
    rows = batch * min(context, PREFILL_CHUNK)
    residual = rows * 2 * model.hidden_size * (width + FLOAT_BYTES)
    phases = {
        "attention": residual + _attention(model, context, batch, width),
        "mlp": residual + rows * _mlp_elements(model) * width,
        "logits": batch * model.vocab_size * (width + 4 * FLOAT_BYTES),
    }
    phase = max(phases, key=lambda name: phases[name])
    growth = growth_bytes(model.attention, context, batch, width)
    return Activations(
        f"prefill {min(context, PREFILL_CHUNK):,} tokens × {batch}",
        ((phase, phases[phase]), ("growing cache", growth), ("rows unpacked", unpacked)),
    )


def slice_bytes(shapes: Iterable[tuple[int, ...]], width: int, *, on_host: bool) -> int:
    """Bytes of the slice of 16-bit rows that the largest of these quantized matrices is unpacked into for a
    long prompt.
    """
    shapes = [shape[-2:] for shape in shapes if len(shape) > 1]
    if on_host:
        return min(HOST_SLICE_BYTES, max((n * k for n, k in shapes), default=0) * width)
    return max((min(GPU_SLICE_ROWS, n) * k for n, k in shapes), default=0) * width


def _attention(model: ModelDescription, context: int, batch: int, width: int) -> int:
    """The largest layer's queries, keys, values, output, repeated heads and mask, in bytes."""
    shapes = dict.fromkeys(layer for layer in model.attention if layer.kind != "linear")
    return max((_attention_layer(model, layer, context, batch, width) for layer in shapes), default=0)


def _attention_layer(
    model: ModelDescription, layer: LayerAttention, context: int, batch: int, width: int
) -> int:
    piece = min(context, PREFILL_CHUNK)
    heads = model.heads
    pair = layer.head_dim + layer.value_head_dim
    elements = batch * piece * (3 * heads * layer.head_dim + 2 * layer.kv_heads * pair)
    in_pieces = context > piece
    # Within a sliding layer, a piece sees the window before it and itself.
    seen = context if layer.window is None else min(context, layer.window + piece)
    if layer.kind == "mla" or (in_pieces and layer.kv_heads < heads):
        elements += batch * seen * heads * pair
    if layer.kind == "mla":  # the latent's projection, before keys and values are taken apart
        elements += batch * kept_tokens(layer, context) * heads * pair
    if in_pieces:
        elements += batch * piece * seen
    return elements * width


def _mlp_elements(model: ModelDescription) -> int:
    dense = 3 * model.intermediate_size
    if not model.experts:
        return dense
    routed = model.experts_per_token * (3 * model.expert_intermediate_size + 2 * model.hidden_size)
    return max(dense, routed)
