"""The experts of one layer: which ones a token goes to, those, and the ones that all tokens go to."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import kernels
from fqconsole.generation.mlp import Mlp
from fqconsole.generation.projections import Projection
from fqconsole.generation.stream import Leave, Left, product
from kernels import Activation, PreparedMatrix
from kernels.routing import RouterKind


@dataclass(frozen=True, eq=False)
class Routing:
    """How the scores of a token's experts become `k` of them with weights; see `kernels.route`.

    `wide`: the scores are computed in float32. `correction` `[E]` counts for the choice alone.
    """

    kind: RouterKind
    weight: Tensor
    bias: Tensor | None
    wide: bool
    k: int
    normalized: bool
    scale: float = 1.0
    groups: int = 1
    kept_groups: int = 1
    correction: Tensor | None = None

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x `[T, H]` → experts int32 `[T, k]` and their weights float32 `[T, k]`."""
        scores = kernels.router_scores(x, self.weight, None if self.wide else self.bias, wide=self.wide)
        return kernels.route(
            scores, self.k, kind=self.kind, normalize=self.normalized, scale=self.scale, bias=self.correction,
            groups=self.groups, kept_groups=self.kept_groups,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class PackedStacks:
    """Routed experts as packed stacks: `rising` `[E, 2 I, H]` gives gate and up, `falling` is `[E, H, I]`.

    The biases are `[E, 2 I]` and `[E, H]`. Nothing here waits for the device.
    """

    rising: PreparedMatrix
    falling: PreparedMatrix
    rising_bias: Tensor | None
    falling_bias: Tensor | None
    work_dtype: torch.dtype | None  # what activations are rounded to for the products; None: as they are
    activation: Activation | None  # of the gate; None: gpt-oss's, whose gate and up are neighbours
    limit: float | None  # of gpt-oss's

    def __call__(self, x: Tensor, expert: Tensor, weight: Tensor, beside: Tensor | None) -> Tensor:
        """x `[T, H]`, `expert` and `weight` `[T, k]`, `beside` `[T, H]` is added → `[T, H]`."""
        of_row = expert.reshape(-1)
        lowered = self._multiply(self._inner(x, expert), self.falling, of_row)
        return kernels.combine(
            lowered, weight, bias=self.falling_bias, residual=beside,
            expert=None if self.falling_bias is None else of_row,
        )  # fmt: skip

    def _inner(self, x: Tensor, expert: Tensor) -> Tensor:
        """What lies between the products, `[T k, I]`; a plain gate is taken into the first one's launch."""
        if self.activation is not None and self.rising_bias is None:
            return self._multiply(x, self.rising, expert, self.activation)
        bias_of = None if self.rising_bias is None else expert.reshape(-1)
        return kernels.gate(
            self._multiply(x, self.rising, expert), self.activation or "clamped_swiglu",
            interleaved=self.activation is None, limit=self.limit, bias=self.rising_bias, expert=bias_of,
        )  # fmt: skip

    def _multiply(
        self, x: Tensor, stack: PreparedMatrix, expert: Tensor, activation: Activation | None = None
    ) -> Tensor:
        if self.work_dtype is None or x.dtype == self.work_dtype:
            return kernels.expert_linear(x, stack, expert, activation=activation)
        return kernels.expert_linear(x.to(self.work_dtype), stack, expert, activation=activation).to(x.dtype)


@dataclass(frozen=True, eq=False)
class ModuleStacks:
    """Routed experts as transformers has them: in 16 bits, or with a gate of their own."""

    module: Any

    def __call__(self, x: Tensor, expert: Tensor, weight: Tensor, beside: Tensor | None) -> Tensor:
        """As in `PackedStacks`."""
        out: Tensor = self.module(x, expert.long(), weight.to(x.dtype))
        return out if beside is None else out + beside


@dataclass(frozen=True, eq=False)
class Experts:
    """Routed experts, `shared` ones beside them, and the gate of these."""

    routing: Routing
    stacks: PackedStacks | ModuleStacks
    shared: Mlp | None
    shared_gate: Projection | None
    first: Projection | None = None
    last: Projection | None = None

    def __call__(self, x: Tensor, norm: kernels.Norm | None, leave: Leave[Left]) -> Left:
        """x `[T, hidden]` → `[T, hidden]`."""
        del norm  # several products read x
        expert, weight = self.routing(x)
        beside = None
        if self.shared is not None:
            beside = self.shared(x, None, product)
            if self.shared_gate is not None:
                beside = torch.sigmoid(self.shared_gate(x)) * beside
        return leave(None, self.stacks(x, expert, weight, beside))
