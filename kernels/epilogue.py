"""What else one call of `kernels.linear` does: what comes before the product and what follows it.

    out = act(gate) * up  or  y        with  y = norm(x) · Wᵀ + bias,  gate | up the halves of y along N
    out = out + residual

The fused kernels do all of it in the launch that multiplies; `multiply_with` does it around any
multiplication, rounding to x's dtype where transformers' modules do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
}


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """x halfway through an RMS norm, as the product that made x leaves it for the one that takes it.

    `rows` `[M, K]`: round(x * weight); `squares` float32 `[M, ceil(K / 16)]`: the sums of x² of 16 columns.
    """

    rows: Tensor
    squares: Tensor


@dataclass(frozen=True, eq=False)
class Norm:
    """RMS norm of the rows of x: round(round(x / sqrt(mean(x²) + eps)) * weight), weight `[K]`.

    `scaled`: the same x halfway there; who can begin with it need not read x.
    """

    weight: Tensor
    eps: float
    scaled: ScaledRows | None = None

    def apply(self, x: Tensor) -> Tensor:
        """x `[..., K]` normalized in float32 and rounded to x's dtype, twice, as transformers does."""
        wide = x.float()
        factor = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * factor).to(x.dtype) * self.weight.to(x.dtype)


@dataclass(frozen=True, eq=False)
class Epilogue:
    """The parts of one call beside x and the matrix; None: not there.

    `bias` `[N]`; `activation` halves the outputs, gate rows first; `residual` `[M, N]` (`[M, N / 2]` with an
    activation) is added last; `norm` is applied to x.
    """

    bias: Tensor | None = None
    residual: Tensor | None = None
    activation: Activation | None = None
    norm: Norm | None = None

    @property
    def is_more(self) -> bool:
        """Whether there is more to do than a product and a bias."""
        return self.norm is not None or self.activation is not None or self.residual is not None

    def outputs(self, n: int) -> int:
        """Columns of the result for a matrix of `n` rows.

        Raises ValueError for an unknown activation, or one that finds no halves.
        """
        if self.activation is None:
            return n
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {self.activation}")
        if n % 2:
            raise ValueError(f"{n} outputs have no gate and up halves")
        return n // 2


NOTHING = Epilogue()


def multiply_with(
    multiply: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, epilogue: Epilogue
) -> Tensor:
    """x `[M, K]` → `[M, N]`, with `multiply(x, bias)` for the product and plain torch around it."""
    normed = x if epilogue.norm is None else epilogue.norm.apply(x)
    out = multiply(normed, epilogue.bias)
    if epilogue.activation is not None:
        gate, up = out.chunk(2, -1)
        out = ACTIVATIONS[epilogue.activation](gate) * up
    return out if epilogue.residual is None else out + epilogue.residual
