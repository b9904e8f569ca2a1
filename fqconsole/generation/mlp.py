"""The plain MLP of a layer, also the shared experts'."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

import kernels
from fqconsole.generation.projections import Projection
from fqconsole.generation.stream import Leave, Left
from kernels import Activation


@dataclass(frozen=True, eq=False)
class Mlp:
    """down(act(gate) * up) with gate and up in one product, or down(act(up))."""

    first: Projection
    last: Projection
    activation: Activation | None  # of the gate, in the call of the product
    pointwise: Callable[[Tensor], Tensor]
    gated: bool

    def __call__(self, x: Tensor, norm: kernels.Norm | None, leave: Leave[Left]) -> Left:
        """x `[T, hidden]` → `[T, hidden]`; `norm` is still to be applied to x."""
        if self.gated and self.activation is not None:
            inner = self.first(x, activation=self.activation, norm=norm)
        elif self.gated:
            gate, up = self.first(x, norm=norm).chunk(2, -1)
            inner = self.pointwise(gate) * up
        else:
            inner = self.pointwise(self.first(x, norm=norm))
        return leave(self.last, inner)
