"""Modules that hold packed weights in place of a model's linears and experts; their forwards call the fused
kernels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import kernels
from kernels.packed_matrix import PackedMatrix


class PackedLinear(nn.Module):
    """y = x Wᵀ + b with W `[N, K]` packed. Stands where an `nn.Linear` stood."""

    def __init__(self, in_features: int, out_features: int, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.bias = bias
        self.matrix: PackedMatrix | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[..., K]` in a floating dtype; returns `[..., N]` in the same dtype."""
        assert self.matrix is not None  # noqa: S101 (the loader refuses a model with an empty place)
        return kernels.linear(x, self.matrix, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class PackedExperts(nn.Module):
    """The routed experts of one layer as packed stacks. Stands where transformers' fused experts module
    stood.

    `rising` is one stack `[E, 2I, H]` (gate rows, then up rows), or two of `[E, I, H]` where gate and up have
    schemes of their own; `falling` is `[E, H, I]`. `apply_gate` maps `[S, 2I]` to `[S, I]` as the model does
    it.
    """

    def __init__(self, num_experts: int, apply_gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.apply_gate = apply_gate
        self.rising: tuple[PackedMatrix, ...] = ()
        self.falling: PackedMatrix | None = None

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """`hidden_states` `[T, H]`, `top_k_index` int64 `[T, k]`, `top_k_weights` `[T, k]` → `[T, H]`."""
        assert self.rising and self.falling is not None  # noqa: S101 (the loader refuses a model with an empty place)
        tokens, k = top_k_index.shape
        expert = top_k_index.reshape(-1)
        rows = hidden_states.repeat_interleave(k, dim=0)
        raised = torch.cat([kernels.expert_linear(rows, stack, expert) for stack in self.rising], dim=-1)
        lowered = kernels.expert_linear(self.apply_gate(raised), self.falling, expert)
        weighted = lowered * top_k_weights.reshape(-1, 1)
        # The sum over a token's experts is a plain reduction: the same bits at every run, unlike index_add on
        # a GPU.
        return weighted.view(tokens, k, -1).sum(dim=1).to(hidden_states.dtype)
