# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917 — a kernel takes many arguments
"""A router's scores of a few tokens on a GPU: x [T, K] times W [E, K] in 16 or 32 bits → [T, E].

A program for ROWS experts and one token. The matrix is small and lies in L2: what counts is that the launch
is short, and that the first weights are on their way before the kernel that makes x is through.
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.fragments import launch_next, round_to, wait_for_previous
from kernels.launch import Launch
from kernels.step_launch import gpu_here, kinds, on, step_constants, step_options
from kernels.tiles import Gpu

ROWS = 4
COLUMNS = 2048
WARPS = 4


@triton.jit(do_not_specialize=["E"])
def router_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    E,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BIAS: tl.constexpr,
    PDL: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    token = tl.program_id(1)
    launch_next(token, PDL)
    expert = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    rows = weight_ptr + expert.to(tl.int64)[:, None] * K
    inside = (expert < E)[:, None]
    weights = tl.load(rows + column[None, :], mask=inside & (column < K)[None, :], other=0.0)
    start = token.to(tl.int64) * K + wait_for_previous(token, PDL)
    x = tl.load(x_ptr + start + column, mask=column < K, other=0.0)
    total = tl.sum(weights.to(tl.float32) * x.to(tl.float32)[None, :], 1)
    for first in tl.static_range(COLUMNS, K, COLUMNS):
        at = first + column
        weights = tl.load(rows + at[None, :], mask=inside & (at < K)[None, :], other=0.0)
        x = tl.load(x_ptr + start + at, mask=at < K, other=0.0)
        total += tl.sum(weights.to(tl.float32) * x.to(tl.float32)[None, :], 1)
    if BIAS:
        total += tl.load(bias_ptr + expert, mask=expert < E, other=0.0).to(tl.float32)
    place = token.to(tl.int64) * E + expert
    tl.store(out_ptr + place, round_to(total, out_ptr.dtype.element_ty, INTERPRET), mask=expert < E)


@cache
def router_launch(gpu: Gpu, k: int, *, bias: bool) -> Launch:
    """The launch for rows of one length."""
    constants = {"K": k, "ROWS": ROWS, "COLUMNS": min(COLUMNS, triton.next_power_of_2(k)), "BIAS": bias}
    return Launch(router_kernel, constants | step_constants(gpu), step_options(gpu, WARPS))


def scores_on_gpu(x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """`kernels.routing.router_scores` in `dtype`, on the current stream."""
    x, weight = x.contiguous(), weight.contiguous()
    tokens, experts = x.shape[0], weight.shape[0]
    out = torch.empty((tokens, experts), dtype=dtype, device=x.device)
    launch = router_launch(gpu_here(x.device), x.shape[1], bias=bias is not None)
    with on(x):
        launch((-(-experts // ROWS), tokens, 1), kinds(x, weight, bias, out), x, weight, bias, out, experts)
    return out
