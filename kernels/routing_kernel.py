# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917 — a kernel takes many arguments
"""A mixture of experts on a GPU, around the experts' matmuls; `kernels.routing` has the formulas.

route     a program a token: all its scores in registers, [groups, experts of a group], the k largest one
          after the other
gate      a program for BLOCK outputs of a row
combine   a program for BLOCK columns of a token: its k rows, added in order
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.ends import activate
from kernels.fragments import launch_next, round_to, wait_for_previous
from kernels.launch import Launch
from kernels.routing import SMALLEST_SUM, SWIGLU_SLOPE, GateKind, RouterKind
from kernels.step_launch import gpu_here, kinds, on, step_constants, step_options
from kernels.tiles import Gpu

COLUMNS = 1024
NOBODY = tl.constexpr(0x7FFFFFFF)


@triton.jit(do_not_specialize=["scale"])
def route_kernel(
    logits_ptr,
    bias_ptr,
    expert_ptr,
    weight_ptr,
    scale,
    smallest,
    E: tl.constexpr,
    K: tl.constexpr,
    MOST: tl.constexpr,  # power of two, at least K
    GROUPS: tl.constexpr,
    KEPT: tl.constexpr,
    ALL_GROUPS: tl.constexpr,  # power of two, at least GROUPS
    EACH: tl.constexpr,  # power of two, at least the experts of a group
    SIGMOID: tl.constexpr,
    NORMALIZE: tl.constexpr,
    BIAS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    token = tl.program_id(0)
    launch_next(token, PDL)
    of_group: tl.constexpr = E // GROUPS
    group = tl.arange(0, ALL_GROUPS)
    member = tl.arange(0, EACH)
    number = group[:, None] * of_group + member[None, :]
    inside = (group < GROUPS)[:, None] & (member < of_group)[None, :]
    bias = tl.zeros((ALL_GROUPS, EACH), tl.float32)
    if BIAS:
        bias = tl.load(bias_ptr + number, mask=inside, other=0.0).to(tl.float32)
    token = token.to(tl.int64) + wait_for_previous(token, PDL)
    x = tl.load(logits_ptr + token * E + number, mask=inside, other=float("-inf")).to(tl.float32)
    if SIGMOID:
        score = 1.0 / (1.0 + tl.exp(-x))
    else:
        score = tl.exp(x - tl.max(tl.max(x, 1), 0))
        score = score / tl.sum(tl.sum(score, 1), 0)
    wanted = tl.where(inside, score + bias, float("-inf"))
    if GROUPS > 1:
        best = tl.max(wanted, 1)
        if SIGMOID and of_group > 1:
            first = tl.min(tl.where(wanted == best[:, None], member[None, :], NOBODY), 1)
            best += tl.max(tl.where(member[None, :] == first[:, None], float("-inf"), wanted), 1)
        best = tl.where(group < GROUPS, best, float("-inf"))
        kept = group < 0
        for _ in tl.static_range(KEPT):
            one = tl.min(tl.where(best == tl.max(best, 0), group, NOBODY), 0)
            kept = kept | (group == one)
            best = tl.where(group == one, float("-inf"), best)
        wanted = tl.where(kept[:, None], wanted, float("-inf"))
    place = tl.arange(0, MOST)
    chosen = tl.zeros((MOST,), tl.int32)
    weight = tl.zeros((MOST,), tl.float32)
    for i in tl.static_range(K):
        highest = tl.max(tl.max(wanted, 1), 0)
        one = tl.min(tl.min(tl.where(inside & (wanted == highest), number, NOBODY), 1), 0)
        of_one = tl.sum(tl.sum(tl.where(number == one, score, 0.0), 1), 0)
        chosen = tl.where(place == i, tl.minimum(one, E), chosen)  # E: no expert, where all is NaN
        weight = tl.where(place == i, of_one, weight)
        wanted = tl.where(number == one, float("-inf"), wanted)
    if NORMALIZE:
        weight = weight / (tl.sum(weight, 0) + smallest)
    tl.store(expert_ptr + token * K + place, chosen, mask=place < K)
    tl.store(weight_ptr + token * K + place, weight * scale, mask=place < K)


@triton.jit
def bias_of(bias_ptr, known, start, column, inside):
    """A row's biases as float32; 0 for a row without an expert."""
    return tl.load(bias_ptr + start + column, mask=inside & known, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["experts", "limit"])
def gate_kernel(
    x_ptr,
    bias_ptr,
    expert_ptr,
    out_ptr,
    experts,
    limit,
    slope,
    I: tl.constexpr,  # noqa: E741 — columns of the result
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    LIMIT: tl.constexpr,
    BIAS: tl.constexpr,
    EXPERTS: tl.constexpr,  # a bias for each
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    row = tl.program_id(0)
    launch_next(row, PDL)
    row = row.to(tl.int64) + wait_for_previous(row, PDL)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < I
    left_column = column
    right_column = column + I
    if INTERLEAVED:
        left_column = 2 * column
        right_column = 2 * column + 1
    left = tl.load(x_ptr + row * (2 * I) + left_column, mask=inside, other=0.0).to(tl.float32)
    right = tl.load(x_ptr + row * (2 * I) + right_column, mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        start = row * 0
        known = row >= 0
        if EXPERTS:
            expert = tl.load(expert_ptr + row).to(tl.int64)
            known = expert < experts
            start = expert * (2 * I)
        left += bias_of(bias_ptr, known, start, left_column, inside)
        right += bias_of(bias_ptr, known, start, right_column, inside)
    if LIMIT:
        left = tl.minimum(left, limit)
        right = tl.minimum(tl.maximum(right, -limit), limit)
    if KIND == "clamped_swiglu":
        out = left / (1.0 + tl.exp(-slope * left)) * (right + 1.0)
    else:
        out = activate(left, KIND) * right
    tl.store(out_ptr + row * I + column, round_to(out, out_ptr.dtype.element_ty, INTERPRET), mask=inside)


@triton.jit(do_not_specialize=["experts"])
def combine_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    expert_ptr,
    residual_ptr,
    out_ptr,
    experts,
    N: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    BIAS: tl.constexpr,
    EXPERTS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    token = tl.program_id(0)
    launch_next(token, PDL)
    token = token.to(tl.int64) + wait_for_previous(token, PDL)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < N
    out = tl.zeros((BLOCK,), tl.float32)
    for i in tl.static_range(K):
        row = token * K + i
        x = tl.load(x_ptr + row * N + column, mask=inside, other=0.0).to(tl.float32)
        if BIAS:
            start = row * 0
            known = row >= 0
            if EXPERTS:
                expert = tl.load(expert_ptr + row).to(tl.int64)
                known = expert < experts
                start = expert * N
            x += bias_of(bias_ptr, known, start, column, inside)
        out += x * tl.load(weight_ptr + row)
    if RESIDUAL:
        out += tl.load(residual_ptr + token * N + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + token * N + column, round_to(out, out_ptr.dtype.element_ty, INTERPRET), mask=inside)


@cache
def route_launch(
    gpu: Gpu, experts: int, k: int, kind: RouterKind, groups: int, kept: int, *, normalize: bool, bias: bool
) -> Launch:
    """The launch for one router."""
    each = triton.next_power_of_2(experts // groups)
    constants = {
        "E": experts, "K": k, "MOST": triton.next_power_of_2(k), "GROUPS": groups, "KEPT": kept,
        "ALL_GROUPS": triton.next_power_of_2(groups), "EACH": each, "SIGMOID": kind == "sigmoid",
        "NORMALIZE": normalize, "BIAS": bias,
    }  # fmt: skip
    return Launch(route_kernel, constants | step_constants(gpu), step_options(gpu, 1))


@cache
def gate_launch(
    gpu: Gpu, columns: int, kind: GateKind, *, interleaved: bool, limit: bool, bias: bool, experts: bool
) -> Launch:
    """The launch for one width and activation."""
    constants = {
        "I": columns, "BLOCK": min(COLUMNS, triton.next_power_of_2(columns)), "KIND": kind,
        "INTERLEAVED": interleaved, "LIMIT": limit, "BIAS": bias, "EXPERTS": experts,
    }  # fmt: skip
    return Launch(gate_kernel, constants | step_constants(gpu), step_options(gpu, 4))


@cache
def combine_launch(gpu: Gpu, columns: int, k: int, *, bias: bool, experts: bool, residual: bool) -> Launch:
    """The launch for one width and number of experts a token."""
    constants = {
        "N": columns, "K": k, "BLOCK": min(COLUMNS, triton.next_power_of_2(columns)), "BIAS": bias,
        "EXPERTS": experts, "RESIDUAL": residual,
    }  # fmt: skip
    return Launch(combine_kernel, constants | step_constants(gpu), step_options(gpu, 4))


def route_on_gpu(
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
    """`kernels.route` on the current stream."""
    tokens, experts = logits.shape
    expert = logits.new_empty((tokens, k), dtype=torch.int32)
    weight = logits.new_empty((tokens, k), dtype=torch.float32)
    if not tokens:
        return expert, weight
    logits = logits.contiguous()
    launch = route_launch(
        gpu_here(logits.device), experts, k, kind, groups, kept_groups, normalize=normalize,
        bias=bias is not None,
    )  # fmt: skip
    with on(logits):
        launch((tokens, 1, 1), kinds(logits, bias), logits, bias, expert, weight, float(scale), SMALLEST_SUM)
    return expert, weight


def gate_on_gpu(
    x: Tensor,
    kind: GateKind = "silu",
    *,
    interleaved: bool = False,
    limit: float | None = None,
    bias: Tensor | None = None,
    expert: Tensor | None = None,
) -> Tensor:
    """`kernels.gate` on the current stream."""
    x = x.contiguous()
    rows, columns = x.shape[0], x.shape[1] // 2
    out = x.new_empty((rows, columns))
    if not rows:
        return out
    bias = None if bias is None else bias.contiguous()
    launch = gate_launch(
        gpu_here(x.device), columns, kind, interleaved=interleaved, limit=limit is not None,
        bias=bias is not None, experts=expert is not None,
    )  # fmt: skip
    grid = (rows, -(-columns // min(COLUMNS, triton.next_power_of_2(columns))), 1)
    experts = 0 if bias is None else bias.shape[0]
    with on(x):
        launch(grid, kinds(x, bias, expert), x, bias, expert, out, experts, float(limit or 0.0), SWIGLU_SLOPE)
    return out


def combine_on_gpu(
    x: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    expert: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """`kernels.combine` on the current stream."""
    x = x.contiguous()
    tokens, k = weight.shape
    columns = x.shape[1]
    out = x.new_empty((tokens, columns))
    if not tokens:
        return out
    bias = None if bias is None else bias.contiguous()
    residual = None if residual is None else residual.contiguous()
    launch = combine_launch(
        gpu_here(x.device), columns, k, bias=bias is not None, experts=expert is not None,
        residual=residual is not None,
    )  # fmt: skip
    grid = (tokens, -(-columns // min(COLUMNS, triton.next_power_of_2(columns))), 1)
    with on(x):
        launch(
            grid, kinds(x, weight, bias, expert, residual),
            x, weight.contiguous(), bias, expert, residual, out, 0 if bias is None else bias.shape[0],
        )  # fmt: skip
    return out
