"""The keys and values of texts, in memory taken once for a planned context."""

from collections.abc import Sequence

import torch

from fqconsole.errors import DeviceError
from fqconsole.generation.decoder import CacheShape, Decoder
from fqconsole.generation.device import free_bytes
from fqconsole.generation.rotary import Rotary
from kernels.key_values import KeyValueCache

GIB = 1 << 30
INT8 = 8
SCALES = 8  # bytes: a float32 scale of the keys and one of the values, for each head and token
ROOM = 0.9  # of what is free, for a context that is named as one that fits
SMALLEST_CONTEXT = 128


class StaticCache:
    """One `KeyValueCache` a layer for `batch` sequences of up to `context` tokens, and the tables of angles.

    `kept` are the tokens of each sequence whose keys and values lie here, in order; the first `prompts` of
    them were its prompt.
    """

    def __init__(
        self, decoder: Decoder, batch: int, context: int, *, bits: int = 16, rotary: Rotary | None = None
    ) -> None:
        """Raises torch.OutOfMemoryError where the device is too small."""
        self.batch = batch
        self.context = context
        dtype = torch.int8 if bits == INT8 else decoder.dtype
        self.layers: Sequence[KeyValueCache] = tuple(
            KeyValueCache.empty(
                batch, shape.kv_heads, shape.capacity(context), shape.head_dim, shape.value_dim,
                latent=shape.latent, dtype=dtype, device=decoder.device,
            )
            for shape in decoder.cache_shapes
        )  # fmt: skip
        self.rotary = rotary or decoder.rotary(context)
        self.kept: list[list[int]] = [[] for _ in range(batch)]
        self.prompts = [0] * batch

    @property
    def bytes(self) -> int:
        """Of keys, values and scales."""
        return sum(layer.bytes for layer in self.layers)

    def reusable(self, row: int, ids: Sequence[int]) -> int:
        """How many tokens at the start of `ids` need not be computed again for sequence `row`.

        Those that it has in common with the kept text, if it goes on from all of that text's prompt; at least
        one token stays to be computed. A prompt that is asked again is computed again: its keys would differ
        in the last bit from those of its first time, and a seed must give the same answer. A window that has
        slid on can't be rolled back: then only a text that goes on where the kept one ended (or one token
        before) is reused.
        """
        kept = self.kept[row]
        common = 0
        for mine, theirs in zip(kept, ids, strict=False):
            if mine != theirs:
                break
            common += 1
        common = min(common, len(ids) - 1)
        if common < max(1, self.prompts[row]):
            return 0
        smallest = min(layer.capacity for layer in self.layers)
        if len(kept) > smallest and common < len(kept) - 1:
            return 0
        return common


def reserve(decoder: Decoder, batch: int, context: int, bits: int, weights: int) -> StaticCache:
    """A `StaticCache`, or a DeviceError with the numbers and the longest context that would fit.

    `weights`: bytes that the model holds, for the sentence.
    """
    try:
        return StaticCache(decoder, batch, context, bits=bits)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _out_of_memory(error):
            raise
        needed = _bytes_of(decoder, batch, context, bits)
        free = free_bytes(decoder.device)
        tokens = int(context * free * ROOM // needed) if free is not None else 0
        shorter = f"Use --context {tokens}" if tokens >= SMALLEST_CONTEXT else "Use a shorter --context"
        left = "" if free is None else f" and {free / GIB:.2f} GiB are free"
        raise DeviceError(
            f"The keys and values of {context} tokens take {needed / GIB:.2f} GiB beside "
            f"{weights / GIB:.2f} GiB of weights{left}.",
            f"{shorter}, or weights in fewer bits.",
        ) from None


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _bytes_of(decoder: Decoder, batch: int, context: int, bits: int) -> int:
    coded = bits == INT8
    width = 1 if coded else decoder.dtype.itemsize
    return cache_bytes(decoder.cache_shapes, batch, context, width, SCALES if coded else 0)


def cache_bytes(shapes: Sequence[CacheShape], batch: int, context: int, width: int, scales: int = 0) -> int:
    """What a `StaticCache` of these layers takes: `width` bytes a number, `scales` bytes a head and token."""
    total = 0
    for shape in shapes:
        numbers = shape.head_dim + (0 if shape.latent else shape.value_dim)
        total += batch * shape.kv_heads * shape.capacity(context) * (numbers * width + scales)
    return total
