"""What our own forward needs beside weights and cache; `activations` says it of transformers' forward.

A prompt goes through in passes of at most PREFILL_CHUNK tokens, of whatever texts, one layer at a time, and
only last tokens become logits. With R = min(batch · context, PREFILL_CHUNK) rows, B bytes a value,
H features, q = heads · head_dim, kv = kv_heads · (head_dim + value_dim) and I inner features, it is one of

    residual    s · R · H · B throughout: s = 3 where products add the sum in, else 6
    attention   R · (2 q + kv + heads · value_dim + 2 H) · B + s
                a window slides:    + (R + windows) · kv · B, the chunk beside what the ring holds
                latent:             + context · heads · (head_dim + 2 value_dim) · B, keys and values made
    mlp         R · (H + 4 I) · B + s between the products, or I and 2 H at the last one
    experts     R · k · max(2 H + 2 I, 4 I, H + 3 I) · B + s; in 16 bits R · k · max(H + 4 I, 4 H) · B + s
    norm        10 R · H, in float32, where a product takes it in
    logits      batch · vocabulary · (3 B + 5): the rows, side by side, and what a draw takes

At each product of a quantized model there is beside that the slice of 16-bit rows that many rows meet, at the
most 2,048 · K · B. Throughout there are the tables of rotary angles (context · head_dim · 4 for each kind of
layer), and on a GPU cuBLAS's workspaces. On a CPU plain torch computes in float32 here and there: what that
takes is counted as well.

A decode step is captured as a graph, with memory of its own: the step's tensors in the segments that torch's
allocator takes for them.
"""

from typing import NamedTuple

from fqconsole.fit.activations import FLOAT_BYTES, GPU_SLICE_ROWS, PREFILL_CHUNK, Activations
from fqconsole.fit.allocator import MIB, reserved_mixed
from fqconsole.fit.place import Place
from fqconsole.models.description import LayerAttention, ModelDescription
from fqconsole.models.families import Family

WORKSPACE = 32 * MIB  # torch takes one for cuBLAS on each stream (Hopper and newer; older GPUs: 8 MiB)
STREAMS = 2  # the main one, and the one on which a step is warmed up and captured
SCORES = 1 << 24  # kernels.attention.SCORE_ELEMENTS: a test compares them
SCORED = frozenset({"gemma2", "gpt_oss"})  # soft caps, sinks: on a CPU all scores are written out
MULTIPROCESSORS = 132  # of an H100: parts of the context in decode attention follow from it
MOST_PARTS = 64  # kernels.attention_tiles.MOST_PARTS: a test compares them


class Work(NamedTuple):
    """One GPU's part of a model, as far as a pass through it cares."""

    model: ModelDescription  # with the heads and the inner features of this GPU
    family: Family
    quantized: bool
    dense: int  # the widest MLP's inner features
    routed: int  # an expert's
    shared_out: bool  # matrices are on several GPUs
    unpacked: int  # bytes of the slice that a quantized matrix is unpacked into; 0 in 16 bits


def scratch(work: Work, context: int, batch: int, place: Place) -> Activations:
    """The peak of a prompt and a step in bytes, without the graph."""
    model = work.model
    rows = min(batch * context, PREFILL_CHUNK)
    line = rows * model.hidden_size * place.width
    adds = adds_sums(work, place)
    fused = adds and work.family.norm == "rms"
    earlier = batch * model.vocab_size * place.width if batch > 1 else 0  # logits of texts that are through
    held = (3 if adds else 6) * line + earlier
    layers = dict.fromkeys(layer for layer in model.attention if layer.kind != "linear")
    attention = max((_attention(work, layer, context, batch, place) for layer in layers), default=0)
    phases = {
        "norm": held + rows * model.hidden_size * (10 if fused else 3 * FLOAT_BYTES * place.on_host),
        "attention": held + attention,
        "mlp": held + max(_mlp(work, rows, place), _experts(work, rows, place)),
        "logits": batch * model.vocab_size * _logit_bytes(work, place),
    }
    phase = max(phases, key=lambda name: phases[name])
    tables = 0 if work.family.rotary == "none" else _tables(model, context)
    spaces = 0 if place.on_host else STREAMS * WORKSPACE
    parts = (phase, phases[phase]), ("angles", tables), ("cuBLAS", spaces)
    return Activations(f"prompt in passes of {rows:,} tokens", parts)


def graph_pool(work: Work, context: int, batch: int, place: Place) -> int:
    """Bytes that the captured decode step of `batch` sequences keeps; 0 on a CPU, which captures nothing."""
    if place.on_host:
        return 0
    model = work.model
    lines = [batch * model.hidden_size * place.width] * 5
    routed = model.experts_per_token * (3 * work.routed + model.hidden_size)
    inner = batch * max(2 * work.dense, routed) * place.width
    logits = [batch * model.vocab_size * place.width] * (3 if work.shared_out else 1)
    layers = dict.fromkeys(model.attention)
    partial = max((_partial_sums(model, layer, context, batch) for layer in layers), default=0)
    return reserved_mixed([*lines, inner, partial, *logits])


def _partial_sums(model: ModelDescription, layer: LayerAttention, context: int, batch: int) -> int:
    """Of decode attention, whose context is split among programs: sums, maxima and totals in float32."""
    latent = layer.kind == "mla"
    kv_heads, columns = (1, layer.latent_dim or 0) if latent else (layer.kv_heads, layer.value_head_dim)
    seen = context if layer.window is None else min(context, layer.window)
    programs = max(1, batch * kv_heads)
    parts = min(MOST_PARTS, -(-2 * MULTIPROCESSORS // programs), -(-seen // 32))
    return batch * model.heads * parts * (columns + 2) * FLOAT_BYTES if parts > 1 else 0


def adds_sums(work: Work, place: Place) -> bool:
    """Whether packed products add the sum in, and a plain norm before them too, on this GPU."""
    plain = not work.family.after_attention and not work.model.experts
    return work.quantized and plain and not work.shared_out and not place.on_host


def _attention(work: Work, layer: LayerAttention, context: int, batch: int, place: Place) -> int:
    """Before the last product: queries, keys and values, what attention gives; and its own result."""
    model, width = work.model, place.width
    rows = min(batch * context, PREFILL_CHUNK)
    line = rows * model.hidden_size
    q = rows * model.heads * layer.head_dim
    out = rows * model.heads * layer.value_head_dim
    on_host = _on_host(work, layer, context, batch, place)
    unpacked = slice_of(work, max(model.hidden_size, model.heads * layer.value_head_dim), place)
    if layer.kind == "mla":
        latent = layer.latent_dim or 0
        plain = min(layer.head_dim, layer.value_head_dim)  # columns of a key that are not turned
        made = context * model.heads * (plain + layer.head_dim + layer.value_head_dim)
        queries = 2 * q + rows * latent
        attending = queries + max(rows * model.heads * latent, made + out)
        return max(attending * width + on_host, (queries + out + 2 * line) * width + unpacked)
    pair = layer.kv_heads * (layer.head_dim + layer.value_head_dim)
    elements = 2 * q + rows * pair + out + 2 * line
    if layer.window is not None and layer.window < context:
        texts = min(batch, rows // layer.window + 1)
        elements += (rows + (texts + 1) * layer.window) * pair
    return elements * width + on_host + unpacked


def slice_of(work: Work, columns: int, place: Place) -> int:
    """What many rows meet of a packed matrix: rows of its own in 16 bits, or theirs in the kernels' order."""
    if place.on_host:
        return work.unpacked
    return min(GPU_SLICE_ROWS * columns * place.width, work.unpacked)


def _on_host(work: Work, layer: LayerAttention, context: int, batch: int, place: Place) -> int:
    """What plain torch takes besides: rotation in float32; keys for every head and scores where a mask, a
    soft cap or sinks ask for them.
    """
    if not place.on_host:
        return 0
    rows = min(batch * context, PREFILL_CHUNK)
    heads, pair = work.model.heads, layer.head_dim + layer.value_head_dim
    turned = 3 * rows * (heads + layer.kv_heads) * layer.head_dim * FLOAT_BYTES
    slides = layer.window is not None and layer.window < context
    if not slides and batch * context <= PREFILL_CHUNK and work.model.family not in SCORED:
        return turned
    seen = context if layer.window is None else min(context, layer.window + rows)
    scores = 4 * min(SCORES, heads * min(rows, context) * seen) * FLOAT_BYTES
    return turned + seen * heads * pair * FLOAT_BYTES + scores


def _mlp(work: Work, rows: int, place: Place) -> int:
    """At the first product, between the two, and at the last one."""
    hidden, inner, width = work.model.hidden_size, work.dense, place.width
    if not inner:
        return 0
    wide = 2 if work.family.gated else 1
    first = rows * (hidden + wide * inner) * width + slice_of(work, hidden, place)
    between = rows * (hidden + 2 * wide * inner) * width
    last = rows * (inner + 2 * hidden) * width + slice_of(work, inner, place)
    return max(first, between, last)


def _experts(work: Work, rows: int, place: Place) -> int:
    """The same of routed experts, each row as often as it has experts: in the kernels, which put the rows in
    their own order before each product, or sorted by transformers.
    """
    hidden, inner, k = work.model.hidden_size, work.routed, work.model.experts_per_token
    if not inner:
        return 0
    if work.quantized:
        each = max(2 * hidden + 2 * inner, 4 * inner, hidden + 3 * inner)
    else:
        each = max(hidden + 4 * inner, 4 * hidden)
    limited = place.on_host and work.family.routing == "softmax of the chosen"  # gates in float32, biases
    gates = 8 * inner * FLOAT_BYTES if limited else 0
    return rows * ((k * each + 2 * hidden) * place.width + k * gates + _numbers(work.model))


def _numbers(model: ModelDescription) -> int:
    """Of one row: its place, and its experts sorted."""
    return 16 + 40 * model.experts_per_token


def _logit_bytes(work: Work, place: Place) -> int:
    """Of one logit: as computed, of several texts beside each other, drawn from; of all GPUs put together."""
    if place.on_host:
        return 3 * place.width + 16 * FLOAT_BYTES  # sorted, with their places
    return (5 if work.shared_out else 3) * place.width + FLOAT_BYTES + 1


def _tables(model: ModelDescription, context: int) -> int:
    """cos and sin of half a head's columns, for each kind of layer."""
    kinds = {layer.kind: layer.head_dim for layer in model.attention if layer.kind != "linear"}
    return sum(context * columns * FLOAT_BYTES for columns in kinds.values())
