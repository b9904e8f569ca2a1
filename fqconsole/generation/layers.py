"""One layer of a decoder: attention and MLP (or experts), each between its norms."""

from dataclasses import dataclass

from torch import Tensor

import kernels
from fqconsole.generation.attention import HeadAttention, LatentAttention
from fqconsole.generation.experts import Experts
from fqconsole.generation.mlp import Mlp
from fqconsole.generation.passes import Pass
from fqconsole.generation.projections import Projection
from fqconsole.generation.stream import RowNorm, Stream
from kernels.key_values import KeyValueCache

Attention = HeadAttention | LatentAttention
Feed = Mlp | Experts


@dataclass(frozen=True, eq=False)
class Layer:
    """Norms on either side of the attention and of the MLP, as far as the family has them.

    `norm_last` (OPT 350M): the two norms before the blocks stand behind the sums after them instead.
    `fused` (a GPU): packed products apply the norm before and add the residual in their own launch.
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

    def __call__(self, stream: Stream, tokens: Pass, cache: KeyValueCache) -> Stream:
        attention, feed = self.attention, self.feed
        if self.norm_last:
            x = stream.hidden
            x = Stream(x, attention(x, tokens, cache, None, None)).enter(self.before_attention)[0]
            return Stream(Stream(x, feed(x, None, None)).enter(self.before_feed)[0])
        x, hidden, norm = self._enter(stream, self.before_attention, attention.first)
        if self._adds(attention.last, self.after_attention):
            stream = Stream(attention(x, tokens, cache, norm, hidden))
        else:
            stream = Stream(hidden, attention(x, tokens, cache, norm, None), self.after_attention)
        x, hidden, norm = self._enter(stream, self.before_feed, feed.first)
        if self._adds(feed.last, self.after_feed):
            return Stream(feed(x, norm, hidden))
        return Stream(hidden, feed(x, norm, None), self.after_feed)

    def _enter(
        self, stream: Stream, before: RowNorm | None, first: Projection | None
    ) -> tuple[Tensor, Tensor, kernels.Norm | None]:
        """What the block reads, the sum so far, and the norm that its first product applies itself."""
        if self.fused and stream.branch is None and before is not None and first is not None and first.fuses:
            inside = before.inside
            if inside is not None:
                return stream.hidden, stream.hidden, inside
        x, hidden = stream.enter(before)
        return x, hidden, None

    def _adds(self, last: Projection | None, after: RowNorm | None) -> bool:
        return self.fused and after is None and last is not None and last.fuses
