"""What a peer's adapter offers: weights there and back, and what it keeps for them in between."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Rebuilt:
    """One matrix after a peer had it: float32 `[N, K]`, multiplied out from what the peer keeps without
    another rounding, and the bits of all that it keeps.
    """

    weight: Tensor
    bits: float


@dataclass(frozen=True)
class Setting:
    """One way to use a peer. `rebuild` takes a weight `[N, K]` in the model's own dtype, on any device."""

    who: str
    bits: int  # the size it is offered under: 3, 4 or 8
    detail: str  # "groups of 64", ...
    rebuild: Callable[[Tensor], Rebuilt]


def tensor_bits(*tensors: Tensor) -> int:
    """Bits that these tensors take as they lie."""
    return sum(tensor.nbytes for tensor in tensors) * 8
