"""One layer of a decoder: attention and MLP (or experts), each between its norms."""

from dataclasses import dataclass, replace

from torch import Tensor

import kernels
from fqconsole.generation.attention import HeadAttention, LatentAttention
from fqconsole.generation.experts import Experts
from fqconsole.generation.mlp import Mlp
from fqconsole.generation.passes import Pass
from fqconsole.generation.projections import Projection
from fqconsole.generation.stream import Addition, RowNorm, Stream, product
from kernels.key_values import KeyValueCache

Attention = HeadAttention | LatentAttention
Feed = Mlp | Experts


@dataclass(frozen=True, eq=False)
class Layer:
    """Norms on either side of the attention and of the MLP, as far as the family has them.

    `norm_last` (OPT 350M): the two norms before the blocks stand behind the sums after them instead.
    `fused` (a GPU): packed products apply the norm before and add the residual in their own launch.
    `following`: the norm that the next layer's first product applies.
    """

    name: str
    attention: Attention
    feed: Feed
    before_attention: RowNorm | None
    after_attention: RowNorm | None
    before_feed: RowNorm | None
    after_feed: RowNorm | None
    norm_last: bool
    fused: bool
    following: kernels.Norm | None = None

    def __call__(self, stream: Stream, tokens: Pass, cache: KeyValueCache) -> Stream:
        attention, feed = self.attention, self.feed
        if self.norm_last:
            x = stream.hidden
            x = Stream(x, attention(x, tokens, cache, None, product)).enter(self.before_attention)[0]
            return Stream(Stream(x, feed(x, None, product)).enter(self.before_feed)[0])
        x, hidden, norm = self._enter(stream, self.before_attention, attention.first)
        inside = self._inside(self.before_feed, feed.first)
        stream = attention(x, tokens, cache, norm, Addition(hidden, self.after_attention, inside, self.fused))
        x, hidden, norm = self._enter(stream, self.before_feed, feed.first)
        return feed(x, norm, Addition(hidden, self.after_feed, self.following, self.fused))

    @property
    def first_norm(self) -> kernels.Norm | None:
        """The norm that the layer's first product applies itself; None: it does not."""
        return None if self.norm_last else self._inside(self.before_attention, self.attention.first)

    def _enter(
        self, stream: Stream, before: RowNorm | None, first: Projection | None
    ) -> tuple[Tensor, Tensor, kernels.Norm | None]:
        """What the block reads, the sum so far, and the norm that its first product applies itself."""
        inside = self._inside(before, first) if stream.branch is None else None
        if inside is not None:
            return stream.hidden, stream.hidden, replace(inside, scaled=stream.scaled)
        x, hidden = stream.enter(before)
        return x, hidden, None

    def _inside(self, before: RowNorm | None, first: Projection | None) -> kernels.Norm | None:
        fuses = self.fused and before is not None and first is not None and first.fuses
        return before.inside if fuses and before is not None else None
