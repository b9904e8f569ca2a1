"""The keys and values of texts, in memory taken once for a planned context."""

from collections.abc import Sequence

import torch

from fqconsole.generation.decoder import CacheShape, Decoder
from fqconsole.generation.rotary import Rotary
from kernels.key_values import KeyValueCache


class StaticCache:
    """One `KeyValueCache` a layer for `batch` sequences of up to `context` tokens, and the tables of angles.

    `kept` are the tokens of each sequence whose keys and values lie here, in order.
    """

    def __init__(
        self, decoder: Decoder, batch: int, context: int, *, bits: int = 16, rotary: Rotary | None = None
    ) -> None:
        """Raises torch.OutOfMemoryError where the device is too small."""
        self.batch = batch
        self.context = context
        dtype = torch.int8 if bits == 8 else decoder.dtype
        self.layers: Sequence[KeyValueCache] = tuple(
            KeyValueCache.empty(
                batch, shape.kv_heads, shape.capacity(context), shape.head_dim, shape.value_dim,
                latent=shape.latent, dtype=dtype, device=decoder.device,
            )
            for shape in decoder.cache_shapes
        )  # fmt: skip
        self.rotary = rotary or decoder.rotary(context)
        self.kept: list[list[int]] = [[] for _ in range(batch)]

    @property
    def bytes(self) -> int:
        """Of keys, values and scales."""
        return sum(layer.bytes for layer in self.layers)

    def reusable(self, row: int, ids: Sequence[int]) -> int:
        """How many tokens at the start of `ids` need not be computed again for sequence `row`.

        At least one token of `ids` stays to be computed. A window that has slid on can't be rolled back: then
        only a text that goes on where the kept one ended (or one token before) is reused.
        """
        kept = self.kept[row]
        common = 0
        for mine, theirs in zip(kept, ids, strict=False):
            if mine != theirs:
                break
            common += 1
        common = min(common, len(ids) - 1)
        smallest = min(layer.capacity for layer in self.layers)
        if len(kept) > smallest and common < len(kept) - 1:
            return 0
        return common


def cache_bytes(shapes: Sequence[CacheShape], batch: int, context: int, width: int, scales: int = 0) -> int:
    """What a `StaticCache` of these layers takes: `width` bytes a number, `scales` bytes a head and token."""
    total = 0
    for shape in shapes:
        numbers = shape.head_dim + (0 if shape.latent else shape.value_dim)
        total += batch * shape.kv_heads * shape.capacity(context) * (numbers * width + scales)
    return total
