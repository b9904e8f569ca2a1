# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""Every Triton kernel under NVIDIA's compute-sanitizer: memory out of bounds, races in shared memory.

    python -m benchmarks.kernels.sanitize [--tools memcheck racecheck] [--only NAME ...] [--seconds 200]

A case is a few small calls, ragged ones above all, in a process of its own, which checks what comes out as the
tests do, and that every kernel that it is there for was launched. All run once as they are, which fills
Triton's cache, then under each tool, where each tensor is an allocation with a gap behind it: inside torch's
pool nothing is out of bounds. Two cases have a fault planted that their tool must find. Exit code 1 if a tool
finds another or a case fails, 2 if nothing can be checked. What was left out or timed out is not known to be clean.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
import triton
import triton.language as tl

import kernels
from kernels.decode import decode_reference
from kernels.epilogue import Epilogue, Norm
from kernels.experts import expert_matmul_reference
from kernels.routing import combine_plain, gate_plain, route_plain
from kernels.wide_tiles import WIDE_CAPABILITY
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error
from tests.kernels.numerics import check_fed_norm
from tests.kernels.step_checks import (
    Heads, check_attend, check_attend_prompt, check_choice, check_latent, check_norms, check_rotate,
    check_rotate_and_attend,
)  # fmt: skip

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
SHORTEST, LONGEST = 15.0, 150.0  # seconds of a process: its imports alone take 13
GAP = 1 << 20  # bytes
DEVICE = "cuda"
FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32
EXPERTS = 6
# Group size, dtype and a K that is no whole number of steps; LONG enough for ring programs to share blocks.
SHORT = ((64, FP16, 1088), (128, BF16, 1152), (32, BF16, 1056), (None, FP16, 1003))
LONG = ((64, FP16, 2112), (128, BF16, 2176), (32, BF16, 2080), (None, FP16, 2003))
LLAMA, PHI = Heads(8, 2, 128, 128, dtype=BF16), Heads(4, 4, 96, 96, dtype=FP16)
GEMMA, CODED = Heads(4, 2, 256, 256, dtype=BF16), Heads(8, 2, 128, 128, coded=True, dtype=FP16)
MANY, SINGLE = Heads(40, 1, 64, 64, dtype=FP16), Heads(4, 2, 64, 64)
LATENTS = [Heads(40, 1, 576, 512, latent=512, coded=coded, dtype=BF16) for coded in (False, True)]


def near(out: torch.Tensor, exact: torch.Tensor) -> None:
    """Raises RuntimeError beyond three times what the kernels are held to: more is rounded on the way here."""
    error = relative_error(out, exact)
    if not error <= 3 * TOLERANCE[out.dtype]:
        raise RuntimeError(f"relative error {error:.1e} of {list(out.shape)} in {out.dtype}")


def normal(*shape: int, dtype: torch.dtype = BF16, seed: int = 1) -> torch.Tensor:
    return random_rows(shape, dtype, seed, DEVICE)


def layouts() -> None:
    """Into lane order and back."""
    for bits in (4, 8, 3):
        for group, *shape in ((64, 21, 192), (48, 3, 21, 144), (128, 32, 512), (None, 5, 77)):
            packed = random_matrix(tuple(shape), bits, group, FP16, device=DEVICE)
            again = kernels.prepare(packed).dequantized().packed
            torch.testing.assert_close(
                (again.codes, again.scales), (packed.codes, packed.scales), rtol=0, atol=0
            )


def products(bits, n, rows, kinds, *parts, activation=None) -> None:
    """`kernels.linear` with what `parts` name around it."""
    for group, dtype, k in kinds:
        packed = random_matrix((n, k), bits, group, dtype, device=DEVICE)
        matrix, normals = kernels.prepare(packed), partial(normal, dtype=dtype)
        for m in rows:
            residual = normals(m, n // 2 if activation else n, seed=2)
            known = {"bias": normals(n), "residual": residual, "norm": Norm(normals(k, seed=3), 1e-5)}
            around = {"activation": activation} | {name: known[name] for name in parts}
            exact = decode_reference(x := normals(m, k, seed=4), packed, Epilogue(**around))
            near(kernels.linear(x, matrix, **around), exact)


def decode_around() -> None:
    """A norm before, an activation and a residual behind; and a norm that the product before it feeds."""
    for bits, kind in ((4, (64, BF16, 1088)), (8, (None, FP16, 1000)), (3, (48, BF16, 1008))):
        products(bits, 96, (1, 16), (kind,), "norm", activation="silu")
        products(bits, 96, (5,), (kind,), "bias", "residual")
        products(bits, 96, (13,), (kind,), "norm", "residual", activation="gelu_tanh")
    for m in (1, 5, 16):
        check_fed_norm((4, 64), (3, 32), m, 288, device=DEVICE)
        check_fed_norm((8, None), (4, 128), m, 384, activation="silu", device=DEVICE)


def decode_large() -> None:
    """So many outputs that programs go from block to block."""
    for bits in (4, 8, 3):
        products(bits, 8500, (5, 16), SHORT[:1])
    products(4, 17024, (5, 16), SHORT[:1], activation="silu")


def experts(n, kinds, *calls) -> None:
    """Calls are rows of x, experts of each and an activation; number EXPERTS stands for none."""
    for bits, (group, dtype, k) in zip((4, 3, 8, 8), kinds, strict=True):
        packed = random_matrix((EXPERTS, n, k), bits, group, dtype, device=DEVICE)
        stack = kernels.prepare(packed)
        for rows, top, activation in calls:
            expert = (torch.arange(rows * top, device=DEVICE) * 7 // 3 % (EXPERTS + 1)).view(rows, top)
            out = kernels.expert_linear(
                x := normal(rows, k, dtype=dtype), stack, expert, activation=activation
            )
            near(out, expert_matmul_reference(x, packed, expert.flatten(), activation))


def routing() -> None:
    by_group = {"kind": "sigmoid", "groups": 3, "bias": normal(24, dtype=FP32)}
    for k, experts, options in ((6, 20, {"groups": 4, "kept_groups": 2}), (4, 60, {}), (3, 24, by_group)):
        logits = normal(7, experts, dtype=FP32)
        torch.testing.assert_close(kernels.route(logits, k, **options), route_plain(logits, k, **options))
    x, weight = normal(6, 3000), normal(2, 3, dtype=FP32)
    bias = {"bias": normal(4, 3000, seed=2), "expert": torch.tensor([0, 1, 2, 3, 4, 0], device=DEVICE)}
    for kind, options in (("silu", {}), ("clamped_swiglu", {"interleaved": True, "limit": 1.5} | bias)):
        near(kernels.gate(x, kind, **options), gate_plain(x.double(), kind, **options))
    for options in ({}, {"residual": normal(2, 3000, seed=3)} | bias):
        near(kernels.combine(x, weight, **options), combine_plain(x.double(), weight, **options))


def each(check: Callable[..., None], function: Callable[..., object], *calls: tuple) -> None:
    """A check of the tests' with each list of arguments, of which the last are named."""
    for *given, named in calls:
        check(function, *given, device=DEVICE, **named)


def attend_rows(q, cache, row, first, **options) -> torch.Tensor:
    return kernels.attend_rows(q, *cache.read(row, 0, first + len(q), q.dtype), first, **options)


def quantizer() -> None:
    """What the kernels store and the ranges that they find are those of plain torch on the CPU."""
    from msgspec.structs import replace

    from quantizer.blocks import find_scales, quantize_rows
    from quantizer.channels import Columns
    from quantizer.granularity import measure_ranges
    from quantizer.methods import methods_of
    from quantizer.plan import MatrixPlan, Plan
    from quantizer.scheme import Scheme

    columns = Columns(*(random_rows((n,), FP32, n).abs() + 0.1 for n in (384, 9, 384)))
    for bits, group, method, dtype in (
        (8, 16, "absmax", FP32), (4, 64, "search", BF16), (3, 32, "signed", FP16), (3, 128, "search", BF16),
    ):  # fmt: skip
        matrix = MatrixPlan("m", ("m.weight",), (9, 384), 0, "m", "m", Scheme(bits, group))
        plan = Plan("m", None, bits, "fixed", group, 0.7, "bfloat16", (matrix,), ())
        plan = replace(plan, methods=methods_of(method))
        made = []
        for device in ("cpu", DEVICE):
            rows, given = random_rows((9, 384), dtype, 1, device), columns.to(torch.device(device))
            block = quantize_rows(rows, matrix, plan, "m", columns=given)
            alone = find_scales(rows, matrix, plan, "m", given.importance).to(BF16)
            means = torch.tensor(list(measure_ranges(normal(5, 2304).to(device)).means.values()))
            made.append([part.cpu() for part in (block.packed, block.scales, alone, means)])
        torch.testing.assert_close(*made, rtol=1e-6, atol=0)
