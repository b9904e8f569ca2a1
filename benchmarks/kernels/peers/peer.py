"""What every peer's adapter offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.kernels.weights import Weights

Tensors = Mapping[str, Tensor]


class UnsupportedError(Exception):
    """This peer does not do that; the message says why, as part of a sentence."""


@dataclass(frozen=True)
class Packed:
    """One matrix in a peer's own form: its tensors, and the product with them.

    `reference` [N, K] are the weights that it holds, where it does not hold ours.
    """

    tensors: Tensors
    call: Callable[[Tensors, Tensor], Tensor]
    reference: Tensor | None = None

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def multiply(self, x: Tensor) -> Tensor:
        """x `[M, K]` → `[M, N]`."""
        return self.call(self.tensors, x)

    def copy(self) -> "Packed":
        """The same matrix elsewhere in memory, so that L2 does not hold it."""
        copies = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        return replace(self, tensors=copies)


class Peer(ABC):
    """One library. Importing it waits until `open`."""

    name: str
    dtypes: tuple[torch.dtype, ...] = (torch.float16, torch.bfloat16)  # the first is measured
    tolerance = 1e-2  # relative error that still counts as the right product

    def __init__(self, *, tune: bool = False) -> None:
        self.tune = tune  # whether it may take minutes to tune itself

    @abstractmethod
    def open(self) -> str:
        """Import it; its version. Raises ImportError, or UnsupportedError where it can't run here."""

    @abstractmethod
    def pack(self, weights: Weights) -> Packed:
        """Its own form of `weights`. Raises UnsupportedError where it has none for this scheme."""

    def check_rows(self, weights: Weights, rows: int) -> None:  # noqa: B027 — most peers take any number
        """Raises UnsupportedError where so many rows can't be timed fairly."""


def require_bits(weights: Weights, *bits: int) -> None:
    if weights.scheme.bits not in bits:
        raise UnsupportedError(f"no {weights.scheme.bits}-bit weights")
