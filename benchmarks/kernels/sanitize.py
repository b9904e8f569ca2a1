# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""Every Triton kernel under NVIDIA's compute-sanitizer: memory out of bounds, races in shared memory.

    python -m benchmarks.kernels.sanitize [--tools memcheck racecheck] [--only NAME ...] [--seconds 200]

A case is a few small calls, ragged ones above all, in a process of its own. It compares what comes out with
plain torch on the CPU, and fails if a kernel that it is there for was not launched. All cases run once as
they are, which fills Triton's cache, and then under each tool, where every tensor is an allocation of its
own: inside torch's pool nothing is out of bounds. Two cases have a fault planted that their tool must find.

Exit code 1 if a tool finds anything else or a case fails, 2 where nothing can be checked. What was left out
or timed out is not known to be clean.
"""

import argparse
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

import kernels
from benchmarks.kernels.layers import CLASSES, Scheme
from benchmarks.kernels.weights import random_rows, random_weights, relative_error
from kernels import Filters, KeyValueCache, Norm, PackedMatrix
from kernels.attention import attend_plain, visible, weigh
from kernels.choice import choose_plain
from kernels.decode import decode_reference
from kernels.decode_plan import DecodePlan
from kernels.epilogue import Epilogue
from kernels.experts import expert_matmul_reference
from kernels.norms import norm_plain
from kernels.ring_plan import RingPlan
from kernels.ring_tiles import choose_ring_tile
from kernels.rotary import rotate_and_store_latent_plain, rotate_and_store_plain
from kernels.routing import combine_plain, gate_plain, route_plain
from kernels.tiles import Gpu, choose_tile, row_bucket
from kernels.wide_experts import WideExpertsPlan
from kernels.wide_tiles import TILE_SPEEDS, WIDE_CAPABILITY, wide_tile

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
SHORTEST, LONGEST = 15.0, 150.0  # seconds of a process: its imports alone take 13
REPORTED = 12  # lines of a report
DEVICE = "cuda"
FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32
# Relative errors: three times what the kernels are held to, since here more is rounded on the way.
MOST = {FP16: 1.5e-3, BF16: 1.2e-2, FP32: 1e-4, torch.int8: 1e-2}
EPS, EXPERTS, BITS = 1e-5, 6, (4, 8, 3)
LAYERS = [layer for layers in CLASSES.values() for layer in layers]
# Group size, dtype and a K that is no whole number of steps; LONG enough for ring programs to share blocks.
SHORT = ((64, FP16, 1088), (128, BF16, 1152), (32, BF16, 1056), (None, FP16, 1003))
LONG = ((64, FP16, 2112), (128, BF16, 2176), (32, BF16, 2080), (None, FP16, 2003))


def over(value: Any) -> Any:
    """The same with copies of its tensors on the GPU."""
    if isinstance(value, Tensor):
        return value.to(DEVICE, copy=True)
    if isinstance(value, tuple | list):
        return tuple(map(over, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: over(getattr(value, field.name)) for field in fields(value)})
    return value


def parts_of(value: Any) -> list[Tensor | float]:
    """Its tensors and fractions, one after the other."""
    if isinstance(value, Tensor | float):
        return [value]
    if is_dataclass(value):
        value = vars(value)
    values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [part for each in values for part in parts_of(each)]


def alike(ours: Callable[..., Any], plain: Callable[..., Any], *given: Any, **named: Any) -> None:
    """Raises RuntimeError where `ours` on the GPU makes, or leaves in its arguments, what `plain` does not."""
    there = over(given), {name: over(value) for name, value in named.items()}
    pairs = ((ours(*there[0], **there[1]), *there), (plain(*given, **named), given, named))
    for found, right in zip(*map(parts_of, pairs), strict=True):
        if isinstance(found, float) or isinstance(right, float):
            well = math.isclose(found, right, rel_tol=EPS)
        elif found.dtype in MOST:
            well = torch.equal(found.cpu(), right) or relative_error(found.cpu(), right) <= MOST[found.dtype]
        else:
            well = torch.equal(found.cpu(), right)
        if not well:
            what = found if isinstance(found, float) else f"{list(found.shape)} in {found.dtype}"
            raise RuntimeError(f"{what} is not what plain torch makes of it")


def normal(*shape: int, dtype: torch.dtype = BF16, seed: int = 1) -> Tensor:
    return random_rows(math.prod(shape[:-1]), shape[-1], dtype, "cpu", seed=seed).view(shape)


def prepared(bits: int, group: int | None, dtype: torch.dtype, *shape: int) -> tuple[PackedMatrix, Any]:
    """A matrix `[N, K]` or a stack `[E, N, K]`, packed on the CPU and prepared on the GPU."""
    *stack, n, k = shape
    weights = random_weights(n, k, Scheme(bits, group), dtype, "cpu", experts=stack[0] if stack else None)
    packed = weights.packed()
    return packed, kernels.prepare(packed, DEVICE, dtype)


def layouts() -> None:
    for bits in BITS:
        for group, *shape in ((64, 21, 192), (48, 3, 21, 144), (128, 32, 512), (None, 5, 77), (32, 2, 20, 96)):
            packed, matrix = prepared(bits, group, FP16, *shape)
            alike(lambda _, w=matrix: w.dequantized().packed, lambda w: w, packed)


def product(made, rows, *names, activation=None) -> None:
    """A product with what `names` name around it."""
    packed, matrix = made
    normals = partial(normal, dtype=packed.scales.dtype)
    residual = normals(rows, packed.n // 2 if activation else packed.n, seed=2)
    parts = {"bias": normals(packed.n), "residual": residual, "norm": Norm(normals(packed.k, seed=3), EPS)}
    alike(
        partial(kernels.linear, w=matrix), lambda x, **around: decode_reference(x, packed, Epilogue(**around)),
        normals(rows, packed.k), activation=activation, **{name: parts[name] for name in names},
    )  # fmt: skip


def products(bits, n, kinds, rows, *names) -> None:
    for kind in kinds:
        made = prepared(bits, *kind[:2], n, kind[2])
        for m in rows:
            product(made, m, *names)


def decode_around() -> None:
    """A norm before, an activation and a residual behind; and a norm that the product before it feeds."""
    for bits, group, dtype, k in ((4, 64, BF16, 1088), (8, None, FP16, 1000), (3, 48, BF16, 1008)):
        made = prepared(bits, group, dtype, 96, k)
        product(made, 1, "norm", activation="silu")
        product(made, 5, "bias", "residual")
        product(made, 13, "norm", "residual", activation="gelu_tanh")
    (first, before), (second, behind) = prepared(4, 64, BF16, 320, 1088), prepared(3, 32, BF16, 96, 320)

    def ours(x, residual, norm, activation):
        total, scaled = kernels.linear_and_scaled(x, before, residual=residual, following=norm)
        fed = replace(norm, scaled=scaled)
        return total, kernels.linear(total, behind, activation=activation, norm=fed)

    def plain(x, residual, norm, activation):
        total = decode_reference(x, first, Epilogue(None, residual))
        return total, decode_reference(total.to(BF16), second, Epilogue(None, None, activation, norm))

    for m, activation in ((1, None), (5, "silu"), (16, None)):
        alike(ours, plain, normal(m, 1088), normal(m, 320, seed=2), Norm(normal(320, seed=3), EPS), activation)


def decode_tiles() -> None:
    """All that layers of models take, on one multiprocessor, so that programs go from block to block."""
    for paired, activation in ((False, None), (True, "silu")):
        tiles = [choose_tile(4, 64, m, x.n, x.k, gpu=Gpu(), paired=paired) for x in LAYERS for m in (1, 16, 32)]
        for number, tile in enumerate(dict.fromkeys(tiles)):
            packed, matrix = prepared(BITS[number % 3], 64, FP16, 192, 2112)
            m, gpu = 8 * tile.n_tiles - 3, Gpu(matrix.gpu.capability, 1)
            matrix.plans[row_bucket(m), paired] = DecodePlan(matrix.lanes, tile, gpu, paired=paired)
            product((packed, matrix), m, activation=activation)


def ring_tiles() -> None:
    """All that layers of models take, on a small matrix."""
    tiles = [choose_ring_tile(4, m, x.n, x.k) for x in LAYERS for m in (16, 32, 64, 128, 256, 2048)]
    for number, tile in enumerate(dict.fromkeys(tiles)):
        packed, matrix = prepared(bits := BITS[number % 3], 64, BF16, 300, 2112)
        bucket, count = row_bucket(tile.rows + 5), matrix.gpu.multiprocessors
        matrix.ring_plans[bucket] = RingPlan(matrix.lanes, tile.of_bits(bits), count, bucket)
        product((packed, matrix), tile.rows + 5, "bias")


def routed(made, rows, *, top=1, activation=None) -> None:
    """`rows` of x, each by `top` experts; number EXPERTS stands for none."""
    packed, stack = made
    expert = (torch.arange(rows * top) * 7 // 3 % (EXPERTS + 1)).view(rows, top)
    alike(
        lambda x, expert, **act: kernels.expert_linear(x, stack, expert, **act),
        lambda x, expert, **act: expert_matmul_reference(x, packed, expert.flatten(), **act),
        normal(rows, packed.k, dtype=packed.scales.dtype), expert, activation=activation,
    )  # fmt: skip


def experts(n, rows, **around) -> None:
    for bits, kind in zip((4, 3, 8, 8), SHORT, strict=True):
        made = prepared(bits, *kind[:2], EXPERTS, n, kind[2])
        for count in rows:
            routed(made, count, **around)


def wide_tiles() -> None:
    for number, of_tile in enumerate(TILE_SPEEDS):
        packed, stack = prepared(bits := BITS[number % 3], 64, FP16, EXPERTS, 300, 1088)
        small = wide_tile(bits, 32) if of_tile > 32 else None
        count, tile = stack.gpu.multiprocessors, wide_tile(bits, of_tile)
        stack.wide_expert_plans[row_bucket(500)] = WideExpertsPlan(stack.lanes, tile, count, small=small)
        routed((packed, stack), 500)


def norms_and_choice() -> None:
    for dtype, width in ((BF16, 100), (FP32, 5000), (FP16, 1030)):
        x, residual = (normal(3, width, dtype=dtype, seed=seed) for seed in (1, 2))
        w, b, before = (normal(width, dtype=dtype, seed=seed) for seed in (3, 4, 5))
        for kind, weight, bias, around in (
            ("rms", w, None, {}), ("rms_once", w, None, {"residual": residual, "before": before}),
            ("layer", w, b, {"residual": residual}), ("layer", None, None, {}),
        ):  # fmt: skip
            alike(kernels.norm, norm_plain, x, weight, bias, eps=EPS, kind=kind, **around)
    noise = torch.empty(3, 9000).exponential_(1, generator=torch.Generator().manual_seed(1))
    warm = Filters(torch.tensor([0.7, 0.0, 1.5]))
    whole, third = torch.tensor([3, 0, 40], dtype=torch.int32), torch.tensor([0.9, 0.5, 0.3])
    for filters, drawn in (
        (Filters(), None), (warm, noise), (replace(warm, top_k=whole), noise),
        (Filters(warm.temperature, whole, third, third / 9, third + 1), noise),
    ):  # fmt: skip
        seen = (normal(3, 9000) > 1).to(torch.uint8)
        alike(kernels.choose, choose_plain, normal(3, 9000, dtype=FP32, seed=2), filters, drawn, seen)


def routing() -> None:
    alike(kernels.route, route_plain, normal(7, 20, dtype=FP32), 6, groups=4, kept_groups=2)
    alike(kernels.route, route_plain, normal(7, 60, dtype=FP32), 4, normalize=False, scale=2.5)
    bias, expert = normal(4, 1500, seed=3), torch.tensor([0, 1, 2, 3, 4, 0])
    alike(kernels.route, route_plain, normal(7, 24), 3, kind="sigmoid", groups=3, bias=normal(24, dtype=FP32))
    x, odd = normal(6, 1500), {"interleaved": True, "limit": 1.5, "bias": bias, "expert": expert}
    alike(kernels.gate, gate_plain, normal(3, 6000))
    alike(kernels.gate, gate_plain, x, "clamped_swiglu", **odd)
    weight = normal(2, 3, dtype=FP32)
    alike(kernels.combine, combine_plain, x, weight)
    alike(kernels.combine, combine_plain, x, weight, bias=bias, expert=expert, residual=normal(2, 1500))
