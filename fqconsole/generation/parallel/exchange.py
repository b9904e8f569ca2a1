"""The parts of a decoder in which GPUs exchange something, in place of those that one GPU has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import kernels
from fqconsole.generation.experts import Experts
from fqconsole.generation.layers import Layer
from fqconsole.generation.parallel.link import Link
from fqconsole.generation.passes import Pass
from fqconsole.generation.projections import Projection
from fqconsole.generation.stream import Leave, Left, Stream, product
from kernels import Activation
from kernels.key_values import KeyValueCache

Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Summed(Projection):
    """Columns of W on each rank; the bias is added once, to the sum."""

    inner: Projection
    bias: Tensor | None
    link: Link
    n: int

    def __call__(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        activation: Activation | None = None,
        norm: kernels.Norm | None = None,
    ) -> Tensor:
        out = self.link.sum(self.inner(x, activation=activation, norm=norm))
        out = out if self.bias is None else out + self.bias
        return out if residual is None else out + residual


@dataclass(frozen=True, eq=False)
class Beside(Projection):
    """Rows of W on each rank, the same number on all: the head by vocabulary."""

    inner: Projection
    link: Link
    n: int

    def __call__(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        activation: Activation | None = None,
        norm: kernels.Norm | None = None,
    ) -> Tensor:
        out = self.link.beside(self.inner(x, activation=activation, norm=norm))
        return out if residual is None else out + residual

    def wide(self, x: Tensor) -> Tensor:
        return self.link.beside(self.inner.wide(x))


@dataclass(frozen=True, eq=False)
class SummedExperts(Experts):
    """Each rank has some of the inner features of every expert, the shared ones too."""

    link: Link | None = None

    def __call__(self, x: Tensor, norm: kernels.Norm | None, leave: Leave[Left]) -> Left:
        assert self.link is not None  # noqa: S101 - a dataclass's fields after defaults need one
        return leave(None, self.link.sum(super().__call__(x, norm, product)))


def summed_embedding(embed: Embed, first: int, rows: int, link: Link) -> Embed:
    """Ids int64 `[T]` → rows of an embedding of which this rank has `rows` from `first`."""

    def look_up(ids: Tensor) -> Tensor:
        here = ids - first
        inside = (here >= 0) & (here < rows)
        found = embed(here.clamp(0, rows - 1))
        return link.sum(torch.where(inside[:, None], found, torch.zeros_like(found)))

    return look_up


def received_rows(width: int, dtype: torch.dtype, device: torch.device, link: Link) -> Embed:
    """In place of the embedding: what the layers before gave, `[T, width]`."""

    def receive(ids: Tensor) -> Tensor:
        return link.receive(torch.empty((len(ids), width), dtype=dtype, device=device))

    return receive


@dataclass(frozen=True, eq=False)
class LastLayer(Layer):
    """The last layer of a rank that isn't the last: its sum goes to the next one."""

    link: Link | None = None

    def __call__(self, stream: Stream, tokens: Pass, cache: KeyValueCache) -> Stream:
        assert self.link is not None  # noqa: S101 - as above
        hidden = super().__call__(stream, tokens, cache).enter(None)[1]
        self.link.send(hidden)
        return Stream(hidden)


@dataclass(frozen=True, eq=False)
class HeadOfLast(Projection):
    """The head, which the last rank has; all get its logits. `inner` None: another rank has it."""

    inner: Projection | None
    link: Link
    n: int
    dtype: torch.dtype

    def __call__(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        activation: Activation | None = None,
        norm: kernels.Norm | None = None,
    ) -> Tensor:
        del residual, activation, norm  # a head has none
        out = self._empty(x, self.dtype) if self.inner is None else self.inner(x).to(self.dtype)
        return self.link.from_rank(out, self.link.count - 1)

    def wide(self, x: Tensor) -> Tensor:
        out = self._empty(x, torch.float32) if self.inner is None else self.inner.wide(x)
        return self.link.from_rank(out, self.link.count - 1)

    def _empty(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.empty((*x.shape[:-1], self.n), dtype=dtype, device=x.device)


def fields_of(item: Any) -> dict[str, Any]:
    """A dataclass's fields as they are, to make a subclass of it with them."""
    return {name: getattr(item, name) for name in item.__dataclass_fields__}
