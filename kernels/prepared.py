"""What a matrix becomes at load: the form its device multiplies with. One implementation a path."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from kernels.epilogue import ACTIVATIONS, Activation, Epilogue, Norm, ScaledRows, multiply_with
from kernels.packed_matrix import PackedMatrix

# Dequantized weights never exist whole: so many bytes of them at a time stay in the CPU's cache or the GPU's
# L2.
SLICE_BYTES = {"cpu": 2 << 20, "cuda": 32 << 20}


def rows_of_slice(k: int, device_type: str) -> int:
    """Rows of `k` 16-bit weights that make one slice."""
    return max(1, SLICE_BYTES.get(device_type, SLICE_BYTES["cuda"]) // (2 * k))


def multiplied_in(dtype: torch.dtype, device_type: str) -> torch.dtype:
    """What rows of `dtype` and dequantized weights are multiplied in: float32 on a CPU without code for it.

    Of float16 always: it is faster there, and more exact. Without AVX-512 torch multiplies bfloat16 up to a
    hundred times more slowly.
    """
    if device_type != "cpu" or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return dtype
    return torch.float32


class PreparedMatrix(ABC):
    """A matrix `[n, k]`, or a stack of them, ready to multiply. Made once at load by `kernels.prepare`."""

    n: int
    k: int
    path: str  # in the operator's words: which matmul runs
    number: int = 0  # how a compiled graph names it; 0: not made by `kernels.prepare`

    # A graph of torch.compile holds numbers and tensors, nothing else, so numbers must lead back to matrices.
    numbers: ClassVar[Iterator[int]] = itertools.count(1)
    living: ClassVar["WeakValueDictionary[int, PreparedMatrix]"] = WeakValueDictionary()

    def take_number(self) -> None:
        """Become known to compiled graphs, for as long as this matrix lives."""
        if not self.number:
            object.__setattr__(self, "number", next(self.numbers))  # some are frozen
            self.living[self.number] = self

    @classmethod
    def numbered(cls, number: int) -> "PreparedMatrix | None":
        """The matrix with this number, if it lives."""
        return cls.living.get(number)

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Bytes held in this form."""

    @abstractmethod
    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x `[M, k]`, contiguous rows, M ≥ 1 → `[M, n]` in x's dtype."""

    def multiply_with(self, x: Tensor, epilogue: Epilogue) -> Tensor:
        """x `[M, k]` → `[M, n]`, or `[M, n / 2]` with an activation; plain torch around the product."""
        return multiply_with(self.multiply, x, epilogue)

    def multiply_and_scale(
        self, x: Tensor, epilogue: Epilogue, following: Norm
    ) -> tuple[Tensor, ScaledRows | None]:
        """`multiply_with` without an activation, and the result on its way through the norm `following`."""
        del following
        return self.multiply_with(x, epilogue), None

    @abstractmethod
    def multiply_by_expert(self, x: Tensor, expert: Tensor) -> Tensor:
        """x `[T / share, k]`, expert int `[T]` → `[T, n]`: row t is of row t // share of x.

        A row whose expert is outside the stack is zero.
        """

    def gate_by_expert(self, x: Tensor, expert: Tensor, activation: Activation) -> Tensor:
        """As `multiply_by_expert`, then activation(gate) * up `[T, n / 2]`; plain torch after the product."""
        gate, up = self.multiply_by_expert(x, expert).chunk(2, -1)
        return ACTIVATIONS[activation](gate) * up


class DequantizedMatrix(PreparedMatrix):
    """Dequantizes a slice of rows at a time and multiplies it: right everywhere, fast nowhere.

    The dequantized weights of a matrix never exist whole.
    """

    def __init__(self, packed: PackedMatrix, path: str = "dequantize") -> None:
        self.packed = packed
        self.n = packed.n
        self.k = packed.k
        self.path = path

    @property
    def bytes(self) -> int:
        return self.packed.bytes

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        dtype = multiplied_in(x.dtype, x.device.type)
        wide = x.to(dtype)
        rows = rows_of_slice(self.k, x.device.type)
        parts = [
            wide @ self.packed.row_slice(start, min(start + rows, self.n)).dequantize(dtype).mT
            for start in range(0, self.n, rows)
        ]
        out = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
        return (out if bias is None else out + bias.to(dtype)).to(x.dtype)

    def multiply_by_expert(self, x: Tensor, expert: Tensor) -> Tensor:
        count = self.packed.experts or 0
        each = tuple(DequantizedMatrix(self.packed.expert(number)) for number in range(count))
        return multiply_each(each, x, expert, self.n)


def multiply_each(matrices: Sequence[PreparedMatrix], x: Tensor, expert: Tensor, n: int) -> Tensor:
    """Rows grouped by expert on the host, one multiplication an expert that has rows."""
    out = x.new_zeros((len(expert), n))
    share = len(expert) // max(1, len(x))
    rows_of: dict[int, list[int]] = {}
    for row, number in enumerate(expert.tolist()):
        if 0 <= number < len(matrices):
            rows_of.setdefault(number, []).append(row)
    for number, rows in rows_of.items():
        place = torch.tensor(rows, device=x.device)
        out[place] = matrices[number].multiply(x[place // share], None)
    return out
