"""The residual stream between two blocks: a sum, and what is still to be added to it.

The addition waits, because the norm that follows does it in the same launch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

import kernels
from fqconsole.generation.projections import Projection
from kernels.norms import NormKind, norm

Left = TypeVar("Left")
# How a block ends: with its last product and what that takes; None: with a result of its own.
Leave = Callable[[Projection | None, Tensor], Left]


@dataclass(frozen=True, eq=False)
class RowNorm:
    """A norm over a token's features; `weight` None: the normed row is multiplied with nothing."""

    weight: Tensor | None
    bias: Tensor | None
    eps: float
    kind: NormKind

    def __call__(self, x: Tensor) -> Tensor:
        return norm(x, self.weight, self.bias, eps=self.eps, kind=self.kind)[0]

    @property
    def inside(self) -> kernels.Norm | None:
        """The form that a packed product takes in; None where it knows only other kinds."""
        return kernels.Norm(self.weight, self.eps) if self.kind == "rms" and self.weight is not None else None


@dataclass(frozen=True, eq=False)
class Stream:
    """`hidden` + after(`branch`), rows `[T, hidden size]`; no branch: the sum is made.

    `scaled`: the sum on its way through the norm that follows.
    """

    hidden: Tensor
    branch: Tensor | None = None
    after: RowNorm | None = None
    scaled: kernels.ScaledRows | None = None

    def rows(self, rows: Tensor | slice) -> "Stream":
        """The stream of some tokens alone, by number int64 `[R]` or as a slice."""
        branch = None if self.branch is None else self.branch[rows]
        return Stream(self.hidden[rows], branch, self.after)

    def enter(self, before: RowNorm | None) -> tuple[Tensor, Tensor]:
        """(what the next block reads, the sum): the sum normed by `before`, or as it is."""
        if self.branch is None:
            return (self.hidden if before is None else before(self.hidden)), self.hidden
        inner = None if self.after is None else self.after.weight
        if before is not None:
            return norm(
                self.branch, before.weight, before.bias, eps=before.eps, kind=before.kind,
                residual=self.hidden, before=inner,
            )  # fmt: skip
        if self.after is not None:
            after = self.after
            return norm(self.branch, None, eps=after.eps, kind=after.kind, residual=self.hidden, before=inner)
        total = self.hidden + self.branch
        return total, total


@dataclass(frozen=True, eq=False)
class Addition:
    """Adds a block's result to `hidden`: in its last product where that takes a residual, else later.

    `after`: the norm in between; `following`: the norm of the next block, if its product applies it.
    """

    hidden: Tensor
    after: RowNorm | None
    following: kernels.Norm | None
    fused: bool

    def __call__(self, last: Projection | None, x: Tensor) -> Stream:
        if last is None:
            return Stream(self.hidden, x, self.after)
        if not self.fused or self.after is not None or not last.fuses:
            return Stream(self.hidden, last(x), self.after)
        if self.following is None:
            return Stream(last(x, residual=self.hidden))
        total, scaled = last.add(x, self.hidden, self.following)
        return Stream(total, scaled=scaled)


def product(last: Projection | None, x: Tensor) -> Tensor:
    """A block that ends with its product alone."""
    return x if last is None else last(x)
