"""Products with weights, packed or in 16 bits, with the norm before and activation and residual after."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

import kernels
from fqconsole.generation.modules import PackedLinear, PackedRows
from fqconsole.generation.wide_head import float32_linear
from kernels import Activation, Norm, PreparedMatrix, ScaledRows
from kernels.epilogue import ACTIVATIONS, Epilogue, multiply_with

COLUMNS = 256  # of a packed head at a time, where its weights are made: a large vocabulary takes its room
Pointwise = Callable[[Tensor], Tensor]

# transformers' names of the activations that the kernels know.
_FUSED: dict[str, Activation] = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "relu": "relu",
}  # fmt: skip


class Projection(ABC):
    """x `[..., K]` → `[..., N]`, or `[..., N / 2]` with an activation of the first half times the second.

    `norm` is applied to x before, `residual` is added last; `fuses`: all of it in one launch on a GPU.
    """

    n: int
    fuses: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        activation: Activation | None = None,
        norm: kernels.Norm | None = None,
    ) -> Tensor:
        """See above."""

    def add(self, x: Tensor, residual: Tensor, following: Norm) -> tuple[Tensor, ScaledRows | None]:
        """The product plus `residual`, and that sum on its way through the norm after it, where one launch
        makes both.
        """
        del following
        return self(x, residual=residual), None

    def wide(self, x: Tensor) -> Tensor:
        """The plain product as float32, from a 16-bit matrix not rounded on the way."""
        return self(x).float()


@dataclass(frozen=True, eq=False)
class Dense(Projection):
    """W `[N, K]` in 16 bits or float32, bias `[N]`."""

    weight: Tensor
    bias: Tensor | None
    n: int

    def __call__(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        activation: Activation | None = None,
        norm: kernels.Norm | None = None,
    ) -> Tensor:
        if residual is None and activation is None and norm is None:
            return functional.linear(x, self.weight, self.bias)
        return multiply_with(self._multiply, x, Epilogue(self.bias, residual, activation, norm))

    def wide(self, x: Tensor) -> Tensor:
        return float32_linear(x, self.weight, self.bias)

    def _multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, self.weight, bias)


@dataclass(frozen=True, eq=False)
class Packed(Projection):
    """A prepared matrix; activations are rounded to `work_dtype` where the kernels want another than x's."""

    matrix: PreparedMatrix
    bias: Tensor | None
    work_dtype: torch.dtype | None
    n: int
    fuses: ClassVar[bool] = True

    def __call__(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        activation: Activation | None = None,
        norm: kernels.Norm | None = None,
    ) -> Tensor:
        if self.work_dtype is None or x.dtype == self.work_dtype:
            return kernels.linear(
                x, self.matrix, self.bias, residual=residual, activation=activation, norm=norm
            )
        return multiply_with(self._rounded, x, Epilogue(self.bias, residual, activation, norm))

    def add(self, x: Tensor, residual: Tensor, following: Norm) -> tuple[Tensor, ScaledRows | None]:
        if self.work_dtype is not None and x.dtype != self.work_dtype:
            return super().add(x, residual, following)
        return kernels.linear_and_scaled(x, self.matrix, self.bias, residual=residual, following=following)

    def wide(self, x: Tensor) -> Tensor:
        """From the weights in 16 bits, of which `COLUMNS` columns at a time are made."""
        k = int(x.shape[-1])
        out = x.new_zeros((*x.shape[:-1], self.n), dtype=torch.float32)
        for first in range(0, k, COLUMNS):
            count = min(COLUMNS, k - first)
            ones = torch.eye(count, dtype=self.work_dtype or x.dtype, device=x.device)
            columns = kernels.linear(functional.pad(ones, (first, k - first - count)), self.matrix)
            out += x[..., first : first + count].float() @ columns.float()
        return out if self.bias is None else out + self.bias.float()

    def _rounded(self, x: Tensor, bias: Tensor | None) -> Tensor:
        out = kernels.linear(x.to(self.work_dtype), self.matrix).to(x.dtype)
        return out if bias is None else out + bias


@dataclass(frozen=True, eq=False)
class Apart(Projection):
    """Matrices that meet the same input but can't be one product: their schemes differ."""

    parts: tuple[Projection, ...]
    n: int

    def __call__(
        self,
        x: Tensor,
        *,
        residual: Tensor | None = None,
        activation: Activation | None = None,
        norm: kernels.Norm | None = None,
    ) -> Tensor:
        return multiply_with(self._multiply, x, Epilogue(None, residual, activation, norm))

    def _multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        del bias  # each part has its own
        return torch.cat([part(x) for part in self.parts], dim=-1)


def projection_of(modules: Sequence[Any]) -> Projection:
    """One product for the linears in `modules`, whose outputs follow each other in this order.

    16-bit weights that lie apart are put together, and the modules keep views of them: nothing is held twice.
    """
    first = modules[0]
    if isinstance(first, PackedRows) and all(
        isinstance(module, PackedRows) and module.whole is first.whole for module in modules
    ):
        return _of_rows(modules)
    if len(modules) == 1:
        return _single(first)
    if all(type(module) is nn.Linear and module.weight.dtype == first.weight.dtype for module in modules):
        return _join(modules)
    parts = tuple(_single(module) for module in modules)
    return Apart(parts, sum(part.n for part in parts))


def _of_rows(modules: Sequence[PackedRows]) -> Packed:
    whole = modules[0].whole
    bias = _joined_bias(modules)
    return Packed(whole.matrix, bias, whole.work_dtype, whole.out_features)


def _single(module: Any) -> Projection:
    if isinstance(module, PackedLinear):
        return Packed(module.matrix, module.bias, module.work_dtype, module.out_features)
    if isinstance(module, PackedRows):
        raise TypeError("the rows of a joined matrix are asked for one by one")
    if isinstance(module, nn.Linear):
        return Dense(module.weight, module.bias, module.weight.shape[0])
    weight = module.weight.t().contiguous()  # GPT-2's Conv1D holds [K, N]
    module.weight = nn.Parameter(weight.t(), requires_grad=False)
    return Dense(weight, module.bias, weight.shape[0])


def _join(linears: Sequence[nn.Linear]) -> Dense:
    weight = torch.cat([linear.weight for linear in linears])
    parts = weight.split([linear.out_features for linear in linears])
    for linear, part in zip(linears, parts, strict=True):
        linear.weight = nn.Parameter(part, requires_grad=False)
    return Dense(weight, _joined_bias(linears), weight.shape[0])


def _joined_bias(modules: Sequence[Any]) -> Tensor | None:
    """The biases one after the other, zeros where there is none; the modules keep views of it."""
    given = next((module.bias for module in modules if module.bias is not None), None)
    if given is None:
        return None
    rows = [int(module.out_features) for module in modules]
    bias = torch.cat(
        [given.new_zeros(n) if m.bias is None else m.bias for m, n in zip(modules, rows, strict=True)]
    )
    for module, part in zip(modules, bias.split(rows), strict=True):
        if module.bias is not None:
            module.bias = nn.Parameter(part, requires_grad=False)
    return bias


def fused_activation(name: str) -> Activation | None:
    """The kernels' word for an activation of transformers; None for one they don't know."""
    return _FUSED.get(name)


def pointwise(name: str) -> Pointwise:
    """The activation of that name as a function."""
    from transformers.activations import ACT2FN

    known = fused_activation(name)
    return ACTIVATIONS[known] if known is not None else ACT2FN[name]
