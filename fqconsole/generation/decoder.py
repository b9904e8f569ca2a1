"""Our own forward of a decoder: embedding, layers, head; one code for all families with a description."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fqconsole.generation.experts import Experts
from fqconsole.generation.layers import Layer
from fqconsole.generation.passes import Pass
from fqconsole.generation.projections import Projection
from fqconsole.generation.rotary import Rotary
from fqconsole.generation.stream import RowNorm, Stream
from kernels.key_values import KeyValueCache

Observer = Callable[[str, Tensor], None]  # told the name of each part and its output


@dataclass(frozen=True)
class CacheShape:
    """What one layer keeps of a token, and of how many tokens (None: of all)."""

    kv_heads: int
    head_dim: int
    value_dim: int
    latent: int = 0
    window: int | None = None

    def capacity(self, context: int) -> int:
        """Tokens of a sequence that the layer keeps in a context of so many."""
        return context if self.window is None else min(self.window, context)


@dataclass(frozen=True, eq=False)
class Decoder:
    """A model ready to run. `rotary_source` and `cache_shapes` are what a text's state is made from."""

    embed: Callable[[Tensor], Tensor]
    embedding_scale: Tensor | None
    positions: Callable[[Tensor], Tensor] | None
    widen: Projection | None
    layers: tuple[Layer, ...]
    last_norm: RowNorm | None
    narrow: Projection | None
    head: Projection
    logit_softcap: float | None
    cache_shapes: tuple[CacheShape, ...]
    rotary_source: Any
    dtype: torch.dtype
    device: torch.device

    @property
    def is_dense(self) -> bool:
        """Whether no number that a layer computes chooses what is computed next, as a router's do."""
        return not any(isinstance(layer.feed, Experts) for layer in self.layers)

    def rotary(self, context: int) -> Rotary:
        """The tables of angles for so many positions."""
        return Rotary(self.rotary_source, context, self.device)

    def hidden(
        self, ids: Tensor, tokens: Pass, caches: Sequence[KeyValueCache], observe: Observer | None = None
    ) -> Stream:
        """Tokens int64 `[T]` through all layers; what is new goes into `caches`, one a layer."""
        x = self.embed(ids)
        if self.embedding_scale is not None:
            x = x * self.embedding_scale
        if self.widen is not None:
            x = self.widen(x)
        if self.positions is not None:
            x = x + self.positions(tokens.positions)
        stream = Stream(x)
        if observe is not None:
            observe("the embedding", x)
        for layer, cache in zip(self.layers, caches, strict=True):
            stream = layer(stream, tokens, cache)
            if observe is not None:
                observe(layer.name, stream.enter(None)[1])
        return stream

    def logits(self, stream: Stream, *, wide: bool = False) -> Tensor:
        """Logits `[T, V]` of every token in `stream`; `wide`: float32 from the head's product on."""
        x = stream.enter(self.last_norm)[0]
        if self.narrow is not None:
            x = self.narrow(x)
        out = self.head.wide(x) if wide else self.head(x)
        if self.logit_softcap is not None:
            out = torch.tanh(out / self.logit_softcap) * self.logit_softcap
        return out


def learned_positions(embedding: nn.Embedding, first: int) -> Callable[[Tensor], Tensor]:
    """Positions int64 `[T]` → their learned rows; row `first` is position 0's."""
    weight = embedding.weight

    def rows_of(positions: Tensor) -> Tensor:
        return nn.functional.embedding(positions + first if first else positions, weight)

    return rows_of
