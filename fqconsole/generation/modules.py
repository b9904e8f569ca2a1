"""Modules that hold packed weights in place of a model's linears and experts; they call the fused kernels."""

from collections.abc import Callable, Iterator
from copy import copy
from inspect import signature
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

import kernels
from kernels import PreparedMatrix

SELF_AND_ROWS = 2  # arguments of experts that take their rows sorted (Llama 4)
IDENTITY_ROWS = 1024  # of the identity at a time, where a matrix is asked for its weights


class PackedLinear(nn.Module):
    """y = x Wᵀ + b with W `[N, K]` packed. Stands where an `nn.Linear` or a Conv1D stood.

    `work_dtype`: what the activations are rounded to for the product where the kernels want another dtype
    than the model computes in; None: nothing is rounded. `dtype` and `device` are those of the model.
    """

    def __init__(
        self,
        matrix: PreparedMatrix,
        bias: nn.Parameter | None,
        work_dtype: torch.dtype | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.in_features = matrix.k
        self.out_features = matrix.n
        self.matrix = matrix
        self.bias = bias
        self.work_dtype = work_dtype
        self.dtype = dtype
        self.device = device
        self._weight: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[..., K]` in a floating dtype; returns `[..., N]` in the same dtype."""
        if self.work_dtype is None or x.dtype == self.work_dtype:
            return kernels.linear(x, self.matrix, self.bias)
        out = kernels.linear(x.to(self.work_dtype), self.matrix).to(x.dtype)
        return out if self.bias is None else out + self.bias

    @property
    def weight(self) -> Tensor:
        """W `[N, K]` in 16 bits, for the few models whose own code reads it: made when first asked for, then
        held.
        """
        if self._weight is None:
            columns = [self._columns(first) for first in range(0, self.in_features, IDENTITY_ROWS)]
            self._weight = torch.cat(columns, dim=1)
        return self._weight

    def _columns(self, first: int) -> Tensor:
        """Columns of W from `first`, as the product with as many rows of the identity."""
        left = self.in_features - first
        dtype = self.work_dtype or self.dtype
        rows = torch.eye(min(IDENTITY_ROWS, left), left, dtype=dtype, device=self.device)
        return kernels.linear(nn.functional.pad(rows, (first, 0)), self.matrix).to(self.dtype).t()

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, path={self.matrix.path}"


class PackedRows(nn.Module):
    """Rows of a matrix that several linears were joined into: q of q, k and v. The bias `[rows]` is its own.

    Our own forward multiplies with the whole. Where transformers' forward calls this one, the product of the
    whole is made and cut.
    """

    def __init__(self, whole: PackedLinear, first: int, rows: int, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.in_features = whole.in_features
        self.out_features = rows
        self.whole = whole
        self.first = first
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[..., K]` → `[..., rows]`."""
        out: Tensor = self.whole(x)[..., self.first : self.first + self.out_features]
        return out if self.bias is None else out + self.bias

    @property
    def weight(self) -> Tensor:
        """Its rows `[rows, K]` in 16 bits, as in `PackedLinear`."""
        return self.whole.weight[self.first : self.first + self.out_features]


class PackedExperts(nn.Module):
    """The routed experts of one layer as packed stacks. Stands where transformers' fused experts module
    stood.

    `rising` is one stack `[E, 2I, H]` in the order of rows that the model has, or two of `[E, I, H]` where
    gate and up have schemes of their own; `falling` is `[E, H, I]`. `apply_gate` maps `[S, 2I]` to `[S, I]`
    as the model does it (`[S, I]` to itself for experts without a gate). The biases are `[E, 2I]` and
    `[E, H]`.
    """

    def __init__(
        self,
        rising: tuple[PreparedMatrix, ...],
        falling: PreparedMatrix,
        apply_gate: Callable[[Tensor], Tensor],
        work_dtype: torch.dtype | None,
        *,
        experts: int,
        gate_up_proj_bias: nn.Parameter | None = None,
        down_proj_bias: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.rising = rising
        self.falling = falling
        self.apply_gate = apply_gate
        self.work_dtype = work_dtype
        self.num_experts = experts
        self.gate_up_proj_bias = gate_up_proj_bias
        self.down_proj_bias = down_proj_bias

    def forward(
        self, hidden_states: Tensor, top_k_index: Tensor | None = None, top_k_weights: Tensor | None = None
    ) -> Tensor:
        """`hidden_states` `[T, H]`, `top_k_index` and `top_k_weights` `[T, k]` → `[T, H]`.

        Without the last two, the rows are sorted by expert already, as many for each (Llama 4).
        """
        if top_k_index is None or top_k_weights is None:
            each = torch.arange(self.num_experts, device=hidden_states.device)
            return self._mix(
                hidden_states, each.repeat_interleave(hidden_states.shape[0] // self.num_experts)
            )
        tokens, k = top_k_index.shape
        lowered = self._mix(hidden_states.repeat_interleave(k, dim=0), top_k_index.reshape(-1))
        weighted = lowered * top_k_weights.reshape(-1, 1)
        # A plain reduction over a token's experts gives the same bits at every run, unlike index_add on a
        # GPU.
        return weighted.view(tokens, k, -1).sum(dim=1).to(hidden_states.dtype)

    def _mix(self, rows: Tensor, expert: Tensor) -> Tensor:
        """`rows` `[S, H]`, each through its expert."""
        raised = torch.cat([self._multiply(rows, stack, expert) for stack in self.rising], dim=-1)
        if self.gate_up_proj_bias is not None:
            raised = raised + self.gate_up_proj_bias[expert]
        lowered = self._multiply(self.apply_gate(raised), self.falling, expert)
        return lowered if self.down_proj_bias is None else lowered + self.down_proj_bias[expert]

    def _multiply(self, x: Tensor, stack: PreparedMatrix, expert: Tensor) -> Tensor:
        if self.work_dtype is None or x.dtype == self.work_dtype:
            return kernels.expert_linear(x, stack, expert)
        return kernels.expert_linear(x.to(self.work_dtype), stack, expert).to(x.dtype)


def prepared_of(model: nn.Module) -> Iterator[PreparedMatrix]:
    """The packed matrices and stacks of `model`."""
    for module in model.modules():
        if isinstance(module, PackedLinear):
            yield module.matrix
        elif isinstance(module, PackedExperts):
            yield from (*module.rising, module.falling)


def linear_form(module: nn.Module) -> Literal["linear", "conv1d"] | None:
    """What `module` multiplies with its weight: "linear" x Wᵀ + b, "conv1d" x W + b, None anything else.

    Classes derived from `nn.Linear` may do as they like: theirs is tried out on small numbers.
    """
    from transformers.pytorch_utils import Conv1D

    if type(module) is Conv1D:
        return "conv1d"
    if not isinstance(module, nn.Linear):
        return None
    if type(module).forward is nn.Linear.forward:
        return "linear"
    trial = copy(module)
    numbers = torch.randn(3, 15, generator=torch.Generator().manual_seed(0))
    weight, x = numbers[0].view(5, 3), numbers[1].view(5, 3)
    bias = None if module.bias is None else numbers[2, :5]
    trial._parameters = {"weight": nn.Parameter(weight), "bias": bias if bias is None else nn.Parameter(bias)}
    try:
        with torch.no_grad():
            found = trial(x)
    except (RuntimeError, AttributeError, TypeError, ValueError):
        return None
    expected = nn.functional.linear(x, weight, bias)
    same = isinstance(found, Tensor) and found.shape == expected.shape and torch.allclose(found, expected)
    return "linear" if same else None


def gate_of(experts: Any) -> Callable[[Tensor], Tensor] | None:
    """What a model's experts do between their two products; None where more belongs to it than that.

    Attributes that an older transformers doesn't set yet describe forms that it doesn't have yet.
    """
    if getattr(experts, "has_post_expert_norm", False):
        return None
    if not getattr(experts, "has_gate", True):
        return cast("Callable[[Tensor], Tensor]", experts.act_fn)
    if hasattr(experts, "_apply_gate"):
        return cast("Callable[[Tensor], Tensor]", experts._apply_gate)
    if len(signature(type(experts).forward).parameters) != SELF_AND_ROWS:
        return None

    def apply_gate(raised: Tensor) -> Tensor:
        gate, up = raised.chunk(2, dim=-1)
        out: Tensor = up * experts.act_fn(gate)
        return out

    return apply_gate
