"""The experts of one layer: which ones a token goes to, those, and the ones that all tokens go to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import kernels
from fqconsole.generation.families.family import RoutingKind
from fqconsole.generation.mlp import Mlp
from fqconsole.generation.projections import Projection


@dataclass(frozen=True, eq=False)
class Routing:
    """How the scores of a token's experts become `k` of them with weights.

    `wide`: the scores are computed in float32. `groups` of neighbouring experts: only those of the best
    `chosen_groups` count. `correction` `[E]` is added to the scores for choosing alone (DeepSeek-V3).
    """

    kind: RoutingKind
    weight: Tensor
    bias: Tensor | None
    k: int
    normalized: bool
    scale: float = 1.0
    groups: int = 1
    chosen_groups: int = 1
    correction: Tensor | None = None

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x `[T, H]` → experts int64 `[T, k]` and their weights `[T, k]`."""
        if self.kind in ("softmax in groups", "sigmoid in groups"):
            return self._in_groups(functional.linear(x.float(), self.weight.float()))
        logits = functional.linear(x, self.weight, self.bias)
        if self.kind == "softmax of the chosen":
            best, expert = logits.topk(self.k, dim=-1)
            return expert, best.softmax(-1)
        weights, expert = logits.softmax(-1, dtype=torch.float32).topk(self.k, dim=-1)
        if self.normalized:
            weights = weights / weights.sum(-1, keepdim=True)
        return expert, weights.to(x.dtype)

    def _in_groups(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        scores = logits.softmax(-1) if self.kind == "softmax in groups" else logits.sigmoid()
        choice = scores if self.correction is None else scores + self.correction
        if self.groups > 1:
            by_group = choice.unflatten(-1, (self.groups, -1))
            # DeepSeek-V2 takes a group's best expert, V3 the sum of its two best.
            best = by_group.topk(1 if self.kind == "softmax in groups" else 2, dim=-1).values.sum(-1)
            kept = best.topk(self.chosen_groups, dim=-1).indices
            dropped = torch.ones_like(best, dtype=torch.bool).scatter(-1, kept, False)
            nothing = 0.0 if self.kind == "softmax in groups" else float("-inf")
            choice = by_group.masked_fill(dropped[..., None], nothing).flatten(-2)
        expert = choice.topk(self.k, dim=-1).indices
        weights = scores.gather(-1, expert)
        if self.normalized:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return expert, weights * self.scale


@dataclass(frozen=True, eq=False)
class Experts:
    """Routed experts, `shared` ones beside them, and the gate of these."""

    routing: Routing
    experts: Callable[[Tensor, Tensor, Tensor], Tensor]  # packed stacks, or transformers' in 16 bits
    shared: Mlp | None
    shared_gate: Projection | None
    first: Projection | None = None
    last: Projection | None = None

    def __call__(self, x: Tensor, norm: kernels.Norm | None = None, residual: Tensor | None = None) -> Tensor:
        """x `[T, hidden]` → `[T, hidden]`."""
        del norm, residual  # several products read x, none of them gives the result
        expert, weights = self.routing(x)
        out = self.experts(x, expert, weights)
        if self.shared is None:
            return out
        beside = self.shared(x)
        if self.shared_gate is not None:
            beside = torch.sigmoid(self.shared_gate(x)) * beside
        return out + beside


def routing_of(router: Any, kind: RoutingKind, config: Any, *, normalized: bool) -> Routing:
    """From the family's word and transformers' router and config."""
    scaled = kind in ("softmax in groups", "sigmoid in groups")
    grouped = kind == "sigmoid in groups" or getattr(config, "topk_method", "") == "group_limited_greedy"
    return Routing(
        kind=kind,
        weight=router.weight,
        bias=getattr(router, "bias", None),
        k=int(config.num_experts_per_tok),
        normalized=normalized
        or (kind != "softmax in groups" and bool(getattr(config, "norm_topk_prob", False))),
        scale=float(config.routed_scaling_factor) if scaled else 1.0,
        groups=int(config.n_group or 1) if scaled and grouped else 1,
        chosen_groups=int(config.topk_group or 1) if scaled and grouped else 1,
        correction=getattr(router, "e_score_correction_bias", None),
    )
