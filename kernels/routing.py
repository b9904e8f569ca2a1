"""A mixture of experts around `kernels.expert_linear`: who works, the gate between, and the sum after.

scores     x times the router's weights [E, K]
route      router's logits [T, E] → k experts and their weights for each token
gate       act(gate + bias) * (up + bias)             between the two products
combine    Σ_i weight[t, i] * (x[t, i] + bias)        after them, with the shared expert or residual added
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from kernels.device import runs_triton
from kernels.epilogue import ACTIVATIONS, Activation

RouterKind = Literal["softmax", "sigmoid"]
GateKind = Activation | Literal["clamped_swiglu"]
ROUTER_KINDS: tuple[RouterKind, ...] = ("softmax", "sigmoid")
FEW_TOKENS = 16  # with more, cuBLAS reads the router once for all
SMALLEST_SUM = 1e-20  # what DeepSeek-V3 adds before it divides
SWIGLU_SLOPE = 1.702  # gpt-oss: gate * sigmoid(1.702 gate) * (up + 1)


def router_scores(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, wide: bool = False) -> Tensor:
    """x `[T, K]` times a router's weight `[E, K]` plus bias `[E]` → `[T, E]` in x's dtype, or float32 where
    `wide`.
    """
    if 0 < len(x) <= FEW_TOKENS and runs_triton(x.device):
        from kernels.router_kernel import scores_on_gpu

        return scores_on_gpu(x, weight, bias, torch.float32 if wide else x.dtype)
    if not wide:
        return functional.linear(x, weight, bias)
    return functional.linear(x.float(), weight.float(), None if bias is None else bias.float())


def route(
    logits: Tensor,
    k: int,
    *,
    kind: RouterKind = "softmax",
    normalize: bool = True,
    scale: float = 1.0,
    bias: Tensor | None = None,
    groups: int = 1,
    kept_groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """logits `[T, E]` → (expert int32 `[T, k]`, weight float32 `[T, k]`), the likeliest expert first.

    softmax: scores over all experts (Mixtral, Qwen, OLMoE, DeepSeek-V2; with `normalize` also gpt-oss, whose
    softmax over the chosen ones is the same). sigmoid: each by itself (DeepSeek-V3, GLM-4-MoE), `bias` `[E]`
    counts for the choice alone. `normalize`: the k weights sum to one, then times `scale`.
    `groups` of neighbouring experts, of which `kept_groups` may work: those with the largest score (softmax)
    or sum of the two largest (sigmoid). Equal scores: the smaller number first.
    Raises ValueError for a k or groups that do not fit.
    """
    experts = logits.shape[-1]
    if logits.dim() != 2 or kind not in ROUTER_KINDS or experts % groups or not 0 < kept_groups <= groups:
        raise ValueError(f"can't route {list(logits.shape)} by {kind} in {kept_groups} of {groups} groups")
    if not 0 < k <= experts // groups * kept_groups or (bias is not None and bias.shape != (experts,)):
        raise ValueError(f"{k} experts of {experts} in {kept_groups} of {groups} groups")
    if runs_triton(logits.device):
        from kernels.routing_kernel import route_on_gpu

        return route_on_gpu(
            logits, k, kind=kind, normalize=normalize, scale=scale, bias=bias, groups=groups,
            kept_groups=kept_groups,
        )  # fmt: skip
    return route_plain(
        logits, k, kind=kind, normalize=normalize, scale=scale, bias=bias, groups=groups,
        kept_groups=kept_groups,
    )  # fmt: skip


def route_plain(
    logits: Tensor,
    k: int,
    *,
    kind: RouterKind = "softmax",
    normalize: bool = True,
    scale: float = 1.0,
    bias: Tensor | None = None,
    groups: int = 1,
    kept_groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """The same in plain torch."""
    scores = logits.float().softmax(-1) if kind == "softmax" else logits.float().sigmoid()
    wanted = scores if bias is None else scores + bias.float()
    if groups > 1:
        grouped = wanted.unflatten(-1, (groups, -1))
        most = min(1 if kind == "softmax" else 2, grouped.shape[-1])
        of_group = grouped.topk(most, -1).values.sum(-1)
        kept = torch.zeros_like(of_group, dtype=torch.bool)
        kept.scatter_(-1, largest(of_group, kept_groups), True)
        wanted = grouped.masked_fill(~kept[..., None], float("-inf")).flatten(-2)
    expert = largest(wanted, k)
    weight = scores.gather(-1, expert)
    if normalize:
        weight = weight / (weight.sum(-1, keepdim=True) + SMALLEST_SUM)
    return expert.int(), weight * scale


def largest(scores: Tensor, k: int) -> Tensor:
    """Numbers of the k largest of each row, int64 `[..., k]`; of equals the smaller number first."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def gate(
    x: Tensor,
    kind: GateKind = "silu",
    *,
    interleaved: bool = False,
    limit: float | None = None,
    bias: Tensor | None = None,
    expert: Tensor | None = None,
) -> Tensor:
    """x `[M, 2 I]` → act(gate) * up `[M, I]` in x's dtype; gate and up are halves, or neighbours.

    clamped_swiglu is gpt-oss's: gate at most `limit`, up within ± `limit`, gate * sigmoid(1.702 gate) *
    (up + 1). `bias` `[2 I]`, or `[E, 2 I]` with `expert` int `[M]` (an id of E or more: no bias).
    """
    if x.dim() != 2 or x.shape[1] % 2 or (kind != "clamped_swiglu" and kind not in ACTIVATIONS):
        raise ValueError(f"no {kind} of gate and up in {list(x.shape)}")
    check_bias(x.shape[1], x.shape[0], bias, expert)
    if runs_triton(x.device):
        from kernels.routing_kernel import gate_on_gpu

        return gate_on_gpu(x, kind, interleaved=interleaved, limit=limit, bias=bias, expert=expert)
    return gate_plain(x, kind, interleaved=interleaved, limit=limit, bias=bias, expert=expert)


def gate_plain(
    x: Tensor,
    kind: GateKind = "silu",
    *,
    interleaved: bool = False,
    limit: float | None = None,
    bias: Tensor | None = None,
    expert: Tensor | None = None,
) -> Tensor:
    """The same in plain torch."""
    whole = with_bias(x.float(), bias, expert)
    left, right = (whole[:, ::2], whole[:, 1::2]) if interleaved else whole.chunk(2, -1)
    if limit is not None:
        left, right = left.clamp(max=limit), right.clamp(-limit, limit)
    if kind == "clamped_swiglu":
        return (left * torch.sigmoid(SWIGLU_SLOPE * left) * (right + 1)).to(x.dtype)
    return (ACTIVATIONS[kind](left) * right).to(x.dtype)


def combine(
    x: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    expert: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """x `[T k, N]`, weight float32 `[T, k]` → Σ weight * (x + bias) + residual, `[T, N]` in x's dtype.

    `bias` `[E, N]` with `expert` int `[T k]` (or `[T, k]`); `residual` `[T, N]`. Summed in float32, in order.
    """
    if x.dim() != 2 or weight.dim() != 2 or x.shape[0] != weight.numel():
        raise ValueError(f"rows {list(x.shape)} for weights {list(weight.shape)}")
    if residual is not None and residual.shape != (weight.shape[0], x.shape[1]):
        raise ValueError(f"residual {list(residual.shape)} for {weight.shape[0]} tokens of {x.shape[1]}")
    expert = None if expert is None else expert.reshape(-1)
    check_bias(x.shape[1], x.shape[0], bias, expert)
    if runs_triton(x.device):
        from kernels.routing_kernel import combine_on_gpu

        return combine_on_gpu(x, weight, bias=bias, expert=expert, residual=residual)
    return combine_plain(x, weight, bias=bias, expert=expert, residual=residual)


def combine_plain(
    x: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    expert: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """The same in plain torch."""
    weighted = with_bias(x.float(), bias, expert) * weight.reshape(-1, 1)
    out = weighted.view(*weight.shape, -1).sum(1)
    return (out if residual is None else out + residual).to(x.dtype)


def check_bias(width: int, rows: int, bias: Tensor | None, expert: Tensor | None) -> None:
    """Raises ValueError where bias `[width]` or `[E, width]` and expert `[rows]` do not go together."""
    if bias is None:
        return
    if bias.shape[-1] != width or bias.dim() != (1 if expert is None else 2):
        raise ValueError(f"bias {list(bias.shape)} for {width} columns")
    if expert is not None and expert.shape != (rows,):
        raise ValueError(f"{list(expert.shape)} experts for {rows} rows")


def with_bias(x: Tensor, bias: Tensor | None, expert: Tensor | None) -> Tensor:
    """x float32 `[M, N]` plus the bias of each row; ids of E or more have none."""
    if bias is None:
        return x
    if expert is None:
        return x + bias.float()
    known = expert < bias.shape[0]
    of_row = bias.float()[torch.where(known, expert, 0)]
    return x + of_row * known[:, None]
