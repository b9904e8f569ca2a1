"""Compile the kernels between the matmuls for GPUs that are not here. Run by `test_compile_step.py`.

Reads a JSON list of [name of a case, capability] from standard input, writes a JSON list of reports; an empty
name is answered with the names of all cases.
"""

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.attention_launch import attend_launch, tile_for
from kernels.attention_merge import merge_launch
from kernels.choice_kernel import settle_launch, survey_launch
from kernels.launch import Launch
from kernels.norms_kernel import norm_launch
from kernels.prompt_kernel import prompt_launch
from kernels.rotary_kernel import latent_launch, rotate_launch
from kernels.router_kernel import router_launch
from kernels.routing_kernel import combine_launch, gate_launch, route_launch
from kernels.tiles import Gpu
from kernels.wide_experts import WideExpertsPlan
from kernels.wide_tiles import choose_routed_tiles
from quantizer.balance_kernel import column_launch, error_launch
from quantizer.block_kernel import block_launch
from quantizer.range_kernel import range_launch
from tests.kernels.cases import lanes_without_memory
from tests.kernels.compile_offline import resource_usage

Compiled = tuple[Launch, dict[str, str]]  # and the types of what is neither a pointer to 16 bits nor an int32

FLOATS = dict.fromkeys(("scale", "softcap", "eps", "smallest", "limit", "slope"), "fp32")
POINTERS = {
    "sums_ptr": "*fp32", "marks_ptr": "*fp32", "lengths_ptr": "*i32", "cos_ptr": "*fp32", "sin_ptr": "*fp32",
    "arrived_ptr": "*i32",
    "positions_ptr": "*i32", "rows_ptr": "*i32", "key_scales_ptr": "*fp32", "value_scales_ptr": "*fp32",
    "noise_ptr": "*fp32", "seen_ptr": "*u8", "temperature_ptr": "*fp32", "penalty_ptr": "*fp32",
    "top_k_ptr": "*i32", "top_p_ptr": "*fp32", "min_p_ptr": "*fp32", "floats_ptr": "*fp32",
    "ints_ptr": "*i32", "tokens_ptr": "*i64", "bad_ptr": "*u8", "expert_ptr": "*i32", "weight_ptr": "*fp32",
}  # fmt: skip
EARLY = re.compile(r"(?:ld|st|red|atom)\.global|cp\.async|cp\.reduce")
CONTRACTED = re.compile(r"fma\.rn(?:\.ftz)?\.f32|(?:div|sqrt)\.(?:full|approx)|div\.rn\.ftz")
CODES = {"keys_ptr": "*i8", "values_ptr": "*i8"}


def attention(
    dtype: str, *shape: Any, split: str = "one", codes: bool = False, turn: bool = False
) -> Callable[[Gpu], Compiled]:
    """kv_heads, group, head_dim, value_dim, latent, softcap, sinks."""
    kv_heads, group, head_dim, value_dim, latent, softcap, sinks = shape

    def compiled(gpu: Gpu) -> Compiled:
        tile = tile_for(gpu, group, head_dim, value_dim, latent, 2)
        launch = attend_launch(
            gpu, kv_heads, group, head_dim, value_dim, latent, codes, softcap, sinks, split, tile, turn
        )
        return launch, (CODES if codes else {}) | {"": dtype}

    return compiled


def prompt(
    dtype: str, *shape: int, codes: bool = False, softcap: bool = False, sinks: bool = False
) -> Callable[[Gpu], Compiled]:
    """heads, kv_heads, head_dim, value_dim."""

    def compiled(gpu: Gpu) -> Compiled:
        launch, _ = prompt_launch(gpu, *shape, coded=codes, softcap=softcap, sinks=sinks, single=False)
        return launch, (CODES if codes else {}) | {"": dtype}

    return compiled


def routed(name: str) -> Callable[[Gpu], Compiled]:
    """A launch before the wide kernel's product of rows routed to 128 experts."""
    integers = ("counts_ptr", "tables_ptr", "before_ptr", "start_ptr", "small_ptr", "row_ptr")

    def compiled(gpu: Gpu) -> Compiled:
        stack = lanes_without_memory(4, 64, 2048, 2048, torch.bfloat16, experts=128)
        tile, small = choose_routed_tiles(4, 256, 2048)
        plan = WideExpertsPlan(stack, tile, gpu.multiprocessors, small=small)
        return getattr(plan, name), dict.fromkeys(integers, "*i32")

    return compiled


def quantizing(
    method: str, bits: int = 4, group_size: int = 64, *, pack: bool = True
) -> Callable[[Gpu], Compiled]:
    """The pass over a block of rows, of prepared ones where it finds scales alone."""
    types = dict.fromkeys(("factors_ptr", "multipliers_ptr", "importance_ptr"), "*fp32")
    types |= {"sums_ptr": "*fp64"}
    types |= {"packed_ptr": "*i32", "rows_ptr": "*bf16"} if pack else {"rows_ptr": "*fp32"}

    def compiled(_: Gpu) -> Compiled:
        return block_launch(bits, group_size, method, torch.bfloat16, pack=pack), types

    return compiled


def balancing(method: str, bits: int = 4, group_size: int = 64) -> Callable[[Gpu], Compiled]:
    """The pass over sampled rows for all candidates."""
    types = dict.fromkeys(("rows_ptr", "factors_ptr", "weights_ptr"), "*fp32") | {"sums_ptr": "*fp64"}

    def compiled(_: Gpu) -> Compiled:
        return error_launch(bits, group_size, method, torch.bfloat16), types

    return compiled


def candidates(known: str) -> Callable[[Gpu], Compiled]:
    """The candidates of a set whose channels are told in this dtype."""
    types = dict.fromkeys(("sigma_ptr", "decoded_ptr", "factors_ptr", "weights_ptr"), "*fp32")
    types |= {"known_ptr": known, "codes_ptr": "*i8", "offset": "fp32"}
    return lambda _: (column_launch(), types)


CASES: dict[str, Callable[[Gpu], Compiled]] = {
    "llama": attention("*bf16", 8, 4, 128, 128, False, False, False),
    "llama, turned": attention("*bf16", 8, 4, 128, 128, False, False, False, turn=True),
    "gemma, turned": attention("*bf16", 8, 2, 256, 256, False, True, False, turn=True),
    "opt": attention("*fp16", 56, 1, 128, 128, False, False, False, split=""),
    "gemma": attention("*bf16", 8, 2, 256, 256, False, True, False),
    "gpt-oss int8": attention("*bf16", 8, 8, 64, 64, False, False, True, codes=True),
    "deepseek": attention("*bf16", 1, 128, 576, 512, True, False, False, split="two"),
    "deepseek int8": attention("*bf16", 1, 16, 576, 512, True, False, False, codes=True),
    "prompt of llama": prompt("*bf16", 32, 8, 128, 128),
    "prompt of phi, int8": prompt("*fp16", 32, 32, 96, 96, codes=True),
    "prompt of gemma": prompt("*bf16", 16, 8, 256, 256, softcap=True),
    "prompt of gpt-oss": prompt("*bf16", 64, 8, 64, 64, sinks=True),
    "prompt of deepseek": prompt("*bf16", 128, 128, 192, 128),
    "merge": lambda gpu: (merge_launch(gpu, 128, 32, sinks=True), {}),
    "rms norm": lambda gpu: (
        norm_launch(gpu, 4096, "rms", weight=True, bias=False, residual=True, before=True),
        {"weight_ptr": "*bf16"},
    ),
    "layer norm": lambda gpu: (
        norm_launch(gpu, 12288, "layer", weight=True, bias=True, residual=True, before=False),
        {"": "*fp16", "weight_ptr": "*fp16"},
    ),
    "rotate": lambda gpu: (
        rotate_launch(
            gpu, 32, 8, 128, 128, 64, interleaved=False, norm="rms", whole=False, coded=False, rows=False
        ),
        {},
    ),
    "rotate part, whole norm, int8": lambda gpu: (
        rotate_launch(
            gpu, 32, 8, 96, 80, 24, interleaved=True, norm="rms_once", whole=True, coded=True, rows=True
        ),
        CODES,
    ),
    "latent": lambda gpu: (
        latent_launch(gpu, 128, 512, 32, interleaved=True, norm="rms", coded=False, rows=False),
        {"weight_ptr": "*bf16"},
    ),
    "latent, int8": lambda gpu: (
        latent_launch(gpu, 128, 512, 32, interleaved=True, norm="rms", coded=True, rows=True),
        {"weight_ptr": "*bf16", **CODES},
    ),
    "survey": lambda gpu: (survey_launch(gpu, drawn=True, penalty=True), {}),
    "settle": lambda gpu: (
        settle_launch(gpu, 32, drawn=True, penalty=True, top_k=True, top_p=True, min_p=True, mark=True),
        {},
    ),
    "settle greedily": lambda gpu: (
        settle_launch(gpu, 64, drawn=False, penalty=False, top_k=False, top_p=False, min_p=False, mark=False),
        {},
    ),
    "router": lambda gpu: (router_launch(gpu, 7168, bias=True), {}),
    "router in float32": lambda gpu: (router_launch(gpu, 2880, bias=False), {"out_ptr": "*fp32"}),
    "route": lambda gpu: (route_launch(gpu, 128, 8, "softmax", 1, 1, normalize=True, bias=False), {}),
    "route in groups": lambda gpu: (
        route_launch(gpu, 160, 6, "sigmoid", 8, 3, normalize=True, bias=True),
        {},
    ),
    "gate": lambda gpu: (
        gate_launch(gpu, 2880, "clamped_swiglu", interleaved=True, limit=True, bias=True, experts=True),
        {},
    ),
    "combine": lambda gpu: (combine_launch(gpu, 2048, 8, bias=True, experts=True, residual=True), {}),
    "count routed rows": routed("count"),
    "place routed rows": routed("place"),
    "quantize by search": quantizing("search"),
    "quantize long groups by search": quantizing("search", group_size=128),
    "quantize 3 bits in short groups by search": quantizing("search", bits=3, group_size=16),
    "quantize signed": quantizing("signed"),
    "quantize 8 bits": quantizing("absmax", bits=8),
    "quantize: scales alone": quantizing("search", pack=False),
    "quantize: ranges": lambda _: (
        range_launch(),
        {"rows_ptr": "*bf16", "sums_ptr": "*fp64", "factors_ptr": "*fp32", "multipliers_ptr": "*fp32"},
    ),
    "quantize: balance by search": balancing("search"),
    "quantize: balance long groups of 3 bits by search": balancing("search", bits=3, group_size=128),
    "quantize: balance signed": balancing("signed"),
    "quantize: candidates of a norm": candidates("*bf16"),
    "quantize: candidates of rows": candidates("*fp32"),
    "gather routed rows": routed("gather"),
}


def report_of(name: str, capability: int) -> dict[str, Any]:
    """What the compiled kernel uses; `stack` and `local` are register spills.

    `too_early` counts what touches memory before the kernel ahead is through, `contracted` what is not
    rounded after each operation as IEEE says.
    """
    launch, changed = CASES[name](Gpu(capability))
    types = FLOATS | POINTERS | changed
    kernel = launch.kernel
    names = kernel.arg_names
    constants = dict(zip(launch.names, launch.constants, strict=True))
    default = types.get("", "*bf16")
    signature, attributes = {}, {}
    for place, argument in enumerate(names):
        kind = types.get(argument, default if argument.endswith("_ptr") else "i32")
        signature[argument] = "constexpr" if argument in constants else kind
        if kind.startswith("*"):
            attributes[place,] = [["tt.divisibility", 16]]
    places = {(names.index(argument),): value for argument, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch.options)
    usage = resource_usage(compiled.asm["cubin"])
    ptx = compiled.asm["ptx"]
    return {
        "registers": usage["REG"],
        "stack": usage["STACK"],
        "local": usage["LOCAL"],
        "shared": compiled.metadata.shared,
        "stores": ptx.count("st.global"),
        "dependent_launches": ptx.count("griddepcontrol.wait"),
        "contracted": len(CONTRACTED.findall(ptx)),
        "too_early": len(EARLY.findall(ptx.partition("griddepcontrol.wait")[0])),
    }


if __name__ == "__main__":
    reports = [
        report_of(name, capability) if name else list(CASES) for name, capability in json.load(sys.stdin)
    ]
    json.dump(reports, sys.stdout)
