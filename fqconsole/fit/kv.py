"""The KV cache, layer by layer: what the cache classes of transformers 5 keep, in the dtype computed in.

full       batch · context · kv_heads · (head_dim + value_head_dim) · B
sliding,
chunked    the same with min(window, context) tokens
mla        batch · context · (kv_lora_rank + rope_dim) · B      the latent is cached, not the heads
linear     batch · state · 4                                    whatever the context

In int8 (`--kv-bits 8`) B is 1, and each head and token has 8 bytes of scales on top.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from fqconsole.fit.allocator import reserved
from fqconsole.models.description import LayerAttention

STATE_BYTES = 4  # recurrent states are kept in float32
KV_BITS = (16, 8)  # 16: as computed in
SCALE_BYTES = 8  # of int8 codes: a float32 scale of the keys and one of the values, for a head and token


def kept_tokens(layer: LayerAttention, context: int) -> int:
    """Tokens of a sequence that the layer keeps."""
    return context if layer.window is None else min(layer.window, context)


def layer_bytes(layer: LayerAttention, context: int, batch: int, width: int, bits: int = 16) -> int:
    """Bytes of one layer's cache; `width` is the bytes of one value (2, or 4 in float32), in int8 one."""
    state = batch * layer.state_elements * STATE_BYTES
    width, scales = (1, SCALE_BYTES) if bits == 8 else (width, 0)
    if layer.kind == "mla":
        latent = layer.latent_dim or 0
        return batch * context * (latent * width + (scales if latent else 0)) + state
    a_head = (layer.head_dim + layer.value_head_dim) * width + scales
    return batch * kept_tokens(layer, context) * layer.kv_heads * a_head + state


def cache_gaps(
    layers: Iterable[tuple[LayerAttention, int]], context: int, batch: int, width: int, bits: int = 16
) -> int:
    """What torch's allocator reserves on a GPU beside keys and values, two tensors a layer; `layers` of each
    kind, and how many.
    """
    sizes = Counter[int]()
    for layer, count in layers:
        slots = batch * kept_tokens(layer, context) * layer.kv_heads
        columns: tuple[int, ...] = (layer.head_dim, layer.value_head_dim)
        if layer.kind == "mla":
            slots, columns = batch * context, (layer.latent_dim or 0,)
        for width_of_one in columns:
            sizes[slots * width_of_one * (1 if bits == 8 else width)] += count
    return sum(reserved(size, count) - size * count for size, count in sizes.items() if size)


def growth_bytes(layers: Sequence[LayerAttention], context: int, batch: int, width: int) -> int:
    """While a token is added, one tensor of one layer's cache is there twice: the old one and its copy."""
    most = 0
    for layer in layers:
        row = layer.latent_dim or 0
        if layer.kind != "mla":
            row = layer.kv_heads * max(layer.head_dim, layer.value_head_dim)
        most = max(most, batch * kept_tokens(layer, context) * row * width)
    return most


def summary(layers: Sequence[LayerAttention]) -> str:
    """`36 full layers, 8 kv heads × 128`: the kinds, most frequent first."""
    words = Counter(_kind_words(layer) for layer in layers)
    return ", ".join(
        f"{count} {word}".replace(" layers", " layer" if count == 1 else " layers")
        for word, count in words.most_common()
    )


def _kind_words(layer: LayerAttention) -> str:
    state = f" + state {layer.state_elements:,}" if layer.state_elements and layer.kind != "linear" else ""
    if layer.kind == "linear":
        return (
            f"recurrent layers of {layer.state_elements:,}"
            if layer.state_elements
            else "layers without a cache"
        )
    if layer.kind == "mla" and layer.latent_dim:
        return f"mla layers of {layer.latent_dim}{state}"
    if layer.kv_heads == 0:
        return f"layers that share another's cache{state}"
    dims = str(layer.head_dim)
    if layer.value_head_dim != layer.head_dim:
        dims += f"+{layer.value_head_dim}"
    window = f" window {layer.window:,}" if layer.window is not None else ""
    return f"{layer.kind} layers{window}, {layer.kv_heads} kv heads × {dims}{state}"
