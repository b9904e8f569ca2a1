# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,type-arg"
"""Small calls that together launch every Triton kernel of kernels/ and quantizer/, for `sanitize`.

Sizes are ragged, and small, so that a tool that looks at every access takes seconds. Each call is checked as
the tests do it, or against plain torch: a case can fail by itself. Two cases have a fault planted.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

import kernels
from benchmarks.kernels.layers import CLASSES
from kernels import Norm, PackedMatrix
from kernels.decode import decode_reference
from kernels.epilogue import Epilogue
from kernels.ring_plan import RingPlan
from kernels.ring_tiles import choose_ring_tile
from kernels.routing import combine_plain, gate_plain, route_plain
from kernels.step_launch import gpu_here
from kernels.tiles import Gpu, choose_tile, row_bucket
from kernels.wide_experts import WideExpertsPlan
from kernels.wide_tiles import TILE_SPEEDS, wide_tile
from quantizer.balance_kernel import candidates_on_gpu, errors_on_gpu
from quantizer.block_kernel import block_on_gpu, scales_on_gpu
from quantizer.plan import ChannelSet
from quantizer.range_kernel import ranges_on_gpu
from tests.kernels import step_checks
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error
from tests.kernels.numerics import Extras, check_fed_norm, check_matmul
from tests.kernels.step_checks import Heads

DEVICE, EXPERTS, BITS = "cuda", 6, (8, 4, 3)
FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32
LAYERS = [layer for layers in CLASSES.values() for layer in layers]
# Group size, dtype and a K that is no whole number of steps; LONG enough for ring programs to share blocks.
SHORT = ((64, FP16, 1088), (128, BF16, 1152), (32, BF16, 1056), (None, FP16, 1003))
LONG = ((64, FP16, 2112), (128, BF16, 2176), (32, BF16, 2080), (None, FP16, 2003))
LLAMA, PHI = Heads(8, 2, 128, 128, dtype=BF16), Heads(4, 4, 96, 96, dtype=FP16)
GEMMA, CODED = Heads(4, 2, 256, 256, dtype=BF16), Heads(8, 2, 128, 128, coded=True, dtype=FP16)
MANY, SINGLE = Heads(40, 1, 64, 64, dtype=FP16), Heads(4, 2, 64, 64)
LATENTS = [Heads(40, 1, 576, 512, latent=512, coded=coded, dtype=BF16) for coded in (False, True)]
same = partial(torch.testing.assert_close, rtol=0, atol=0)
alike = partial(torch.testing.assert_close, rtol=1e-3, atol=0)


def near(out: Tensor, exact: Tensor) -> None:
    """Raises RuntimeError beyond three times what the kernels are held to: more is rounded on the way."""
    error = relative_error(out, exact)
    if not error <= 3 * TOLERANCE[out.dtype]:
        raise RuntimeError(f"relative error {error:.1e} of {list(out.shape)} in {out.dtype}")


def normal(*shape: int, dtype: torch.dtype = BF16, seed: int = 1) -> Tensor:
    return random_rows(shape, dtype, seed, DEVICE)


def prepared(bits: int, group: int | None, dtype: torch.dtype, *shape: int) -> tuple[PackedMatrix, Any]:
    """A matrix `[N, K]` or a stack `[E, N, K]`, also as it multiplies."""
    packed = random_matrix(shape, bits, group, dtype, device=DEVICE)
    return packed, kernels.prepare(packed)


def layouts() -> None:
    for bits in BITS:
        for group, *shape in ((64, 21, 192), (48, 3, 21, 144), (128, 32, 512), (None, 5, 77)):
            packed, matrix = prepared(bits, group, FP16, *shape)
            again = matrix.dequantized().packed
            same((again.codes, again.scales), (packed.codes, packed.scales))


def product(packed, matrix, rows, *parts, activation=None) -> None:
    """`kernels.linear` with what `parts` name around it."""
    normals = partial(normal, dtype=packed.scales.dtype)
    residual = normals(rows, packed.n // 2 if activation else packed.n, seed=2)
    known = {"bias": normals(packed.n), "residual": residual, "norm": Norm(normals(packed.k, seed=3), 1e-5)}
    around = {"activation": activation} | {name: known[name] for name in parts}
    exact = decode_reference(x := normals(rows, packed.k, seed=4), packed, Epilogue(**around))
    near(kernels.linear(x, matrix, **around), exact)


def products(bits, n, rows, kinds, *parts, activation=None) -> None:
    for group, dtype, k in kinds:
        packed, matrix = prepared(bits, group, dtype, n, k)
        for m in rows:
            product(packed, matrix, m, *parts, activation=activation)


def decode_around() -> None:
    """A norm before, an activation and a residual behind; and a norm that the product before it feeds."""
    for bits, kind in ((4, (64, BF16, 1088)), (8, (None, FP16, 1000)), (3, (48, BF16, 1008))):
        products(bits, 96, (1, 16), (kind,), "norm", activation="silu")
        products(bits, 96, (5,), (kind,), "bias", "residual")
        products(bits, 96, (13,), (kind,), "norm", "residual", activation="gelu_tanh")
    gpu = gpu_here(torch.device(DEVICE))
    for m in (1, 5, 16):
        check_fed_norm((4, 64), (3, 32), m, 288, device=DEVICE, gpu=gpu)
        check_fed_norm((8, 64), (4, 128), m, 384, activation="silu", device=DEVICE, gpu=gpu)


def decode_tiles() -> None:
    """All that layers of models take, on one multiprocessor, so that programs go from block to block."""
    gpu = Gpu(gpu_here(torch.device(DEVICE)).capability, 1)
    tiles = [choose_tile(4, 64, m, x.n, x.k, gpu=Gpu()) for x in LAYERS for m in (1, 16, 32)]
    for number, tile in enumerate(dict.fromkeys(tiles)):
        bits, sizes = BITS[number % 3], (8 * tile.n_tiles - 3, 192, 2112)
        for extras in (Extras(), Extras(activation="silu")):
            check_matmul(bits, 64, FP16, *sizes, extras=extras, tile=tile, gpu=gpu, device=DEVICE)


def ring_tiles() -> None:
    """All that layers of models take, on a small matrix."""
    tiles = [choose_ring_tile(4, m, x.n, x.k) for x in LAYERS for m in (16, 32, 64, 128, 256, 2048)]
    for number, tile in enumerate(dict.fromkeys(tiles)):
        packed, matrix = prepared(bits := BITS[number % 3], 64, BF16, 300, 2112)
        bucket, count = row_bucket(tile.rows + 5), matrix.gpu.multiprocessors
        matrix.ring_plans[bucket] = RingPlan(matrix.lanes, tile.of_bits(bits), count, bucket)
        product(packed, matrix, tile.rows + 5, "bias")


def routed(packed, stack, rows, top, activation) -> None:
    """`rows` of x by `top` experts each; number EXPERTS stands for none."""
    x, row = normal(rows, packed.k, dtype=packed.scales.dtype), torch.arange(rows * top, device=DEVICE)
    expert = row * 7 // 3 % (EXPERTS + 1)
    out = kernels.expert_linear(x, stack, expert.view(rows, top), activation=activation)
    of_experts = x.double() @ packed.dequantize(torch.float64).mT
    exact = torch.cat((of_experts, torch.zeros_like(of_experts[:1])))[expert, row // top]
    near(out, exact if activation is None else gate_plain(exact, activation))


def experts(n, *calls) -> None:
    for bits, (group, dtype, k) in zip((4, 3, 8, 8), SHORT, strict=True):
        packed, stack = prepared(bits, group, dtype, EXPERTS, n, k)
        for call in calls:
            routed(packed, stack, *call)


def wide_tiles() -> None:
    for number, rows in enumerate(TILE_SPEEDS):
        packed, stack = prepared(bits := BITS[number % 3], 64, FP16, EXPERTS, 300, 1088)
        small, count = wide_tile(bits, 32) if rows > 32 else None, stack.gpu.multiprocessors
        plan = WideExpertsPlan(stack.lanes, wide_tile(bits, rows), count, small=small)
        stack.wide_expert_plans[row_bucket(500)] = plan
        routed(packed, stack, 500, 1, None)


def routing() -> None:
    grouped: dict[str, Any] = {"kind": "sigmoid", "groups": 3, "bias": normal(24, dtype=FP32)}
    for k, count, options in ((6, 20, {"groups": 4, "kept_groups": 2}), (4, 60, {}), (3, 24, grouped)):
        logits = normal(7, count, dtype=FP32)
        torch.testing.assert_close(kernels.route(logits, k, **options), route_plain(logits, k, **options))
    x, weight, router, added = normal(6, 3000), normal(2, 3, dtype=FP32), normal(22, 3000), normal(22)
    exact = x.double() @ router.double().mT
    near(kernels.router_scores(x, router, added), exact + added)
    near(kernels.router_scores(x, router, wide=True), exact)
    bias = {"bias": normal(4, 3000, seed=2), "expert": torch.tensor([0, 1, 2, 3, 4, 0], device=DEVICE)}
    clamped: dict[str, Any] = {"kind": "clamped_swiglu", "interleaved": True, "limit": 1.5}
    for gating in ({}, clamped | bias):
        near(kernels.gate(x, **gating), gate_plain(x.double(), **gating))
    for around in ({}, {"residual": normal(2, 3000, seed=3)} | bias):
        near(kernels.combine(x, weight, **around), combine_plain(x.double(), weight, **around))


def attend_prompt(q, cache, row, first, **options) -> Tensor:
    """`kernels.attend_prompt`, after `attend_rows` has given the same."""
    out = kernels.attend_prompt(q, cache, row, first, **options)
    keys, values = cache.read(row, 0, first + len(q), q.dtype)
    near(kernels.attend_rows(q, keys, values, first, **options), out.double())
    return out


def checks(name: str, function: Callable[..., object], calls: Sequence[tuple]) -> None:
    """A check of `step_checks` with each list of arguments, of which the last are named."""
    for *given, named in calls:
        getattr(step_checks, name)(function, *given, device=DEVICE, **named)


def stored(rows, bits, group, method, **around) -> tuple[Tensor, Tensor, float]:
    """Rows as they are read back, their scales, and the relative error that the kernel tells."""
    made = block_on_gpu(rows, bits, group, method, BF16, **around)
    if made is None:
        raise RuntimeError(f"int{bits} by {method} takes these weights for none")
    packed, scales, error, norm = made
    read = PackedMatrix(packed, scales, bits, group, rows.shape[1]).dequantize(FP32)
    return read, scales, (error / norm) ** 0.5


def quantizer() -> None:
    """What is stored is as near as its bits allow, and as far off as the kernels say."""
    factors, multipliers = (normal(n, dtype=FP32, seed=n).abs() + 0.5 for n in (768, 9))
    for bits, group, method, dtype in (
        (8, 16, "absmax", FP32), (4, 64, "search", BF16), (3, 32, "signed", FP16), (3, 128, "search", BF16),
    ):  # fmt: skip
        rows, how = normal(9, 768, dtype=dtype), (bits, group, method)
        read, scales, told = stored(rows, *how, factors=factors, multipliers=multipliers, importance=factors)
        wide = rows.float() * factors * multipliers[:, None]
        same(scales_on_gpu(wide, *how, BF16, importance=factors), scales)
        alike(told, off := relative_error(read, wide.double()))
        if off > 4 / 2**bits:
            raise RuntimeError(f"int{bits} by {method} is off by {off:.2f}")
        ranges = ranges_on_gpu(rows, factors, multipliers)
        alike(ranges["channel"], float(wide.abs().amax(1).double().square().sum()))
    rows = normal(9, 768, dtype=FP32)
    made = candidates_on_gpu(ChannelSet("norm", ("reader",)), normal(768), factors, 1)
    errors = errors_on_gpu(rows, [9], made, 4, 64, "signed", BF16, weighing=False)
    for error, columns, weights in zip(errors or (), made.factors, made.weights.sqrt(), strict=True):
        read, _, _ = stored(rows, 4, 64, "signed", factors=columns)
        alike(error, relative_error(read * weights, (rows * columns * weights).double()) ** 2)


@triton.jit
def planted_write_kernel(out_ptr):
    """Also writes right behind 128 numbers."""
    place = tl.arange(0, 256)
    tl.store(out_ptr + place, place)


@triton.jit
def planted_race_kernel(out_ptr):
    """Each thread of four warps stores to shared memory, and reads without a barrier what another stored."""
    own = 4 * tl.arange(0, 128)
    other = (own + 128) % 512
    text: tl.constexpr = """{ .shared .align 4 .b8 cells[512]; .reg .b32 at;
        mov.u32 at, cells; add.u32 at, at, $1; st.shared.b32 [at], $1;
        mov.u32 at, cells; add.u32 at, at, $2; ld.shared.b32 $0, [at]; }"""
    found = tl.inline_asm_elementwise(text, "=r,r,r", [own, other], dtype=tl.int32, is_pure=False, pack=1)
    tl.store(out_ptr + own // 4, found)


def in_turn(*runs: Callable[[], None]) -> None:
    for run in runs:
        run()


def plant(kernel) -> None:
    kernel[1,](torch.empty(128, dtype=torch.int32, device=DEVICE), num_warps=4)


class Case(NamedTuple):
    """What runs in one process, and the kernels that it must launch; `planted`: the tool that must tell."""

    name: str
    kernels: str
    run: Callable[[], None]
    hopper: bool = False
    planted: str = ""


DECODE, RING, PLACES, LENGTHS = "decode_kernel", "reorder_kernel ring_kernel", [3, -1, 21, 8], [700, 333, 0]
OPTIONS: tuple[tuple[Heads, dict], ...] = (
    (LLAMA, {}), (PHI, {"window": 20, "sinks": True}), (GEMMA, {"softcap": 20.0}), (CODED, {}), (SINGLE, {}),
)  # fmt: skip
DRAWS = ((), ("temperature",), ("temperature", "top_k", "top_p", "min_p", "penalty"))
CASES = (
    Case("planted", "planted_write_kernel", partial(plant, planted_write_kernel), planted="memcheck"),
    Case("planted-race", "planted_race_kernel", partial(plant, planted_race_kernel), planted="racecheck"),
    Case("layouts", "to_lanes_kernel from_lanes_kernel", layouts),
    *(Case(f"decode-int{bits}", DECODE, partial(products, bits, 100, (1, 5, 16), SHORT, "bias"))
      for bits in BITS),
    Case("decode-around", DECODE, decode_around),
    Case("decode-tiles", DECODE, decode_tiles),
    *(Case(f"ring-int{bits}", RING, partial(products, bits, 300, (24, 64, 128), LONG, "bias"), True)
      for bits in BITS),
    Case("ring-tiles", f"{RING} norm_kernel gate_kernel", partial(in_turn, ring_tiles,
         partial(products, 3, 320, (24, 200), LONG[1:2], "norm", "residual", activation="silu")), True),
    Case("prefill", "dequantize_kernel", partial(in_turn, partial(products, 3, 2100, (2100,), SHORT[:2]),
         partial(products, 4, 200, (40, 300), (*SHORT, (48, BF16, 1008)), "bias"),
         partial(products, 8, 200, (40,), SHORT))),
    Case("experts", "experts_kernel sort_kernel", partial(in_turn,
         partial(experts, 100, (1, 2, None), (16, 1, None), (150, 1, None)),
         partial(experts, 192, (1, 2, "silu"), (16, 2, "silu"), (150, 1, "gelu")))),
    Case("wide", "count_kernel place_kernel gather_kernel wide_kernel gate_kernel", partial(in_turn,
         wide_tiles, partial(experts, 300, (80, 1, None), (250, 2, "silu"))), True),
    Case("routing", "router_kernel route_kernel gate_kernel combine_kernel", routing),
    Case("norm-and-choice", "norm_kernel survey_kernel settle_kernel", partial(in_turn,
         partial(checks, "check_norms", kernels.norm, [(3, *x, {}) for x in ((100, BF16), (5000, FP32))]),
         partial(checks, "check_choice", kernels.choose, [(9001, used, {}) for used in DRAWS]))),
    Case("rotate", "rotate_kernel latent_kernel", partial(in_turn,
         partial(checks, "check_latent", kernels.rotate_and_store_latent, [(x, PLACES, {}) for x in LATENTS]),
         partial(checks, "check_rotate", kernels.rotate_and_store, (
            (LLAMA, PLACES, 128, {}), (PHI, PLACES, 48, {"norm": "head", "interleaved": True}),
            (CODED, PLACES, 64, {"norm": "whole", "rows": True}), (SINGLE, PLACES, 0, {}))))),
    Case("attend-short", "attend_kernel", partial(checks, "check_attend", kernels.attend,
         [(heads, [60, 1, 0, 37], 50, options) for heads, options in OPTIONS])),
    Case("attend-long", "attend_kernel merge_kernel", partial(checks, "check_attend", kernels.attend, (
        (LLAMA, LENGTHS, 701, {}), (CODED, LENGTHS, 501, {"sinks": True, "window": 300}),
        *((heads, [150, 3], 160, {}) for heads in (MANY, *LATENTS))))),
    Case("rotate-and-attend", "attend_kernel rotate_kernel",
         partial(checks, "check_rotate_and_attend", kernels.rotate_and_attend,
                 [(heads, [198, -1, 0, 126], 2, 200, {}) for heads in (LLAMA, PHI, GEMMA)])),
    Case("attend-prompt", "prompt_kernel", partial(checks, "check_attend_prompt", attend_prompt,
         [(heads, 37, 70, 128, options) for heads, options in OPTIONS])),
    Case("quantizer", "block_kernel range_kernel column_kernel error_kernel", quantizer),
)  # fmt: skip
