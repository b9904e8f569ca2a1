"""Logits of whole texts at once, for measuring: no text goes on from there, so nothing is kept."""

from torch import Tensor

from fqconsole.generation.decoder import CacheShape, Decoder
from fqconsole.generation.passes import Chunk, Pass
from fqconsole.generation.rotary import Rotary
from kernels import KeyValueCache


class Scratch:
    """Memory for one layer's keys and values; all layers of a shape use the same, one after the other."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._size = (0, 0)
        self._caches: dict[CacheShape, KeyValueCache] = {}
        self._rotary: Rotary | None = None

    def logits(self, ids: Tensor) -> Tensor:
        """Logits float32 `[B, T, V]` for tokens int64 `[B, T]` on the decoder's device."""
        batch, length = ids.shape
        decoder = self._decoder
        rotary = self._sized(batch, length)
        rotary.fit(length)
        chunks = tuple(Chunk(row, 0, length) for row in range(batch))
        tokens = Pass.of_chunks(chunks, rotary, decoder.device)
        caches = [self._caches[shape] for shape in decoder.cache_shapes]
        out = decoder.logits(decoder.hidden(ids.reshape(-1), tokens, caches), wide=True)
        return out.view(batch, length, -1)

    def _sized(self, batch: int, length: int) -> Rotary:
        """Take memory for so many texts of so many tokens, unless it is there."""
        if self._rotary is None or self._size != (batch, length):
            decoder = self._decoder
            self._size = (batch, length)
            self._caches = {
                shape: KeyValueCache.empty(
                    batch, shape.kv_heads, length, shape.head_dim, shape.value_dim,
                    latent=shape.latent, dtype=decoder.dtype, device=decoder.device,
                )
                for shape in set(decoder.cache_shapes)
            }  # fmt: skip
            self._rotary = decoder.rotary(length)
        return self._rotary
