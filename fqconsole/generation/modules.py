"""Modules that hold packed weights in place of a model's linears and experts; they call the fused kernels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import kernels
from fqconsole.errors import OperatorError
from kernels import PreparedMatrix


class PackedLinear(nn.Module):
    """y = x Wᵀ + b with W `[N, K]` packed. Stands where an `nn.Linear` stood.

    `work_dtype`: what the activations are rounded to for the product where the kernels want another dtype
    than the model computes in; None: nothing is rounded.
    """

    def __init__(
        self, matrix: PreparedMatrix, bias: nn.Parameter | None, work_dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        self.in_features = matrix.k
        self.out_features = matrix.n
        self.matrix = matrix
        self.bias = bias
        self.work_dtype = work_dtype

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[..., K]` in a floating dtype; returns `[..., N]` in the same dtype."""
        if self.work_dtype is None or x.dtype == self.work_dtype:
            return kernels.linear(x, self.matrix, self.bias)
        out = kernels.linear(x.to(self.work_dtype), self.matrix).to(x.dtype)
        return out if self.bias is None else out + self.bias

    @property
    def weight(self) -> Tensor:
        """There is none: raises OperatorError for the few models that reach past a linear's forward."""
        raise OperatorError(
            "This model's own code reads the weights of a layer that is quantized, "
            "which are never there in 16 bits.",
            "Use the model in 16 bits.",
        )

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, path={self.matrix.path}"


class PackedExperts(nn.Module):
    """The routed experts of one layer as packed stacks. Stands where transformers' fused experts module
    stood.

    `rising` is one stack `[E, 2I, H]` (gate rows, then up rows), or two of `[E, I, H]` where gate and up have
    schemes of their own; `falling` is `[E, H, I]`. `apply_gate` maps `[S, 2I]` to `[S, I]` as the model does
    it.
    """

    def __init__(
        self,
        rising: tuple[PreparedMatrix, ...],
        falling: PreparedMatrix,
        apply_gate: Callable[[Tensor], Tensor],
        work_dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.rising = rising
        self.falling = falling
        self.apply_gate = apply_gate
        self.work_dtype = work_dtype

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """`hidden_states` `[T, H]`, `top_k_index` and `top_k_weights` `[T, k]` → `[T, H]`."""
        tokens, k = top_k_index.shape
        expert = top_k_index.reshape(-1)
        rows = hidden_states.repeat_interleave(k, dim=0)
        raised = torch.cat([self._multiply(rows, stack, expert) for stack in self.rising], dim=-1)
        lowered = self._multiply(self.apply_gate(raised), self.falling, expert)
        weighted = lowered * top_k_weights.reshape(-1, 1)
        # A plain reduction over a token's experts gives the same bits at every run, unlike index_add on a
        # GPU.
        return weighted.view(tokens, k, -1).sum(dim=1).to(hidden_states.dtype)

    def _multiply(self, x: Tensor, stack: PreparedMatrix, expert: Tensor) -> Tensor:
        if self.work_dtype is None or x.dtype == self.work_dtype:
            return kernels.expert_linear(x, stack, expert)
        return kernels.expert_linear(x.to(self.work_dtype), stack, expert).to(x.dtype)
