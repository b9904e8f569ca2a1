"""Compile the fused kernels for GPUs that are not here and report what came out. Run by `test_compile.py`.

Reads a JSON list of cases from standard input, writes a JSON list of reports. A process of its own, because
it needs the real compiler, whatever TRITON_INTERPRET says around it.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.dequantize import BLOCK, dequantize_kernel
from kernels.experts import experts_kernel
from kernels.matmul import SUM_BLOCK, matmul_kernel, sum_parts_kernel
from kernels.tiles import Gpu, Tile, choose_expert_tile, choose_tile, constants_of

TYPES = {"float16": "*fp16", "bfloat16": "*bf16", "float32": "*fp32"}


@dataclass(frozen=True)
class Case:
    """One compilation, as a launch with these tensors would ask for it."""

    kernel: str  # "matmul", "experts", "sum", "dequantize"
    capability: int
    bits: int = 4
    group_size: int | None = 64
    dtype: str = "bfloat16"
    m: int = 1
    n: int = 4096
    k: int = 4096
    with_bias: bool = False


@dataclass(frozen=True)
class Report:
    """What a compiled kernel uses; `stack` and `local` bytes a thread are register spills."""

    registers: int
    stack: int
    local: int
    shared: int
    stores: int
    fused_multiplications: int


def launch_of(case: Case) -> tuple[Any, dict[str, Any], dict[str, Any], Tile | None]:
    """(kernel, arguments: pointer types and integers, constants, tile) of a case with prepared scales."""
    gpu = Gpu(case.capability)
    pointer = TYPES[case.dtype]
    codes = "*i32" if case.bits == 3 else "*i16"
    words = case.k * case.bits // 32
    units = words if case.bits == 3 else 2 * words
    matrix: dict[str, Any] = {"stride_codes": units, "stride_scales": 1, "stride_group": case.n}
    if case.kernel == "sum":
        arguments = {"partial_ptr": "*fp32", "bias_ptr": pointer, "out_ptr": pointer}
        arguments |= {"N": case.n, "size": case.m * case.n, "parts": 4}
        return sum_parts_kernel, arguments, {"HAS_BIAS": True, "BLOCK": SUM_BLOCK}, None
    if case.kernel == "dequantize":
        arguments = {"codes_ptr": "*i32", "scales_ptr": pointer, "out_ptr": pointer, "K": case.k}
        arguments["first_row"] = 0
        arguments |= matrix | {"stride_codes": words}
        constants = {"BITS": case.bits, "GROUP": case.group_size or 0, "BLOCK": BLOCK}
        return dequantize_kernel, arguments, constants, None
    arguments = {"x_ptr": pointer, "codes_ptr": codes, "scales_ptr": pointer, "out_ptr": pointer}
    arguments |= {"N": case.n, "K": case.k, "row_length": units, "stride_x": case.k} | matrix
    if case.kernel == "experts":
        tile = choose_expert_tile(case.bits, case.group_size, case.m, gpu)
        arguments |= {f"{name}_ptr": "*i32" for name in ("order", "tile_expert", "tile_start", "tile_end")}
        arguments |= {"tiles": 24, "experts": 128, "stride_codes_expert": units * case.n}
        arguments |= {"stride_scales_expert": case.n * 64}
        return experts_kernel, arguments, constants_of(case.bits, case.group_size, case.k, tile), tile
    tile = choose_tile(case.bits, case.group_size, case.m, case.n, case.k, gpu=gpu)
    arguments |= {"bias_ptr": pointer if case.with_bias else None, "M": case.m, "steps_per_part": 7}
    partial = tile.split > 1
    if partial:
        arguments["out_ptr"] = "*fp32"
    constants = constants_of(case.bits, case.group_size, case.k, tile)
    return matmul_kernel, arguments, constants | {"PARTIAL": partial, "HAS_BIAS": case.with_bias}, tile


def compile_case(case: Case) -> Any:
    """The compiled kernel, with integers specialised as at a launch (1 is a constant, 16 divides)."""
    kernel, arguments, constants, tile = launch_of(case)
    constants = constants | {"INTERPRET": False}
    signature, attributes = {}, {}
    for place, name in enumerate(kernel.arg_names):
        value = constants[name] if name in constants else arguments[name]
        specialised = not kernel.params[place].do_not_specialize
        if name in constants or value is None or (value == 1 and specialised):
            constants[name] = value
            signature[name] = "constexpr"
        else:
            signature[name] = value if isinstance(value, str) else "i32"
            if isinstance(value, str) or (value % 16 == 0 and specialised):
                attributes[(place,)] = [["tt.divisibility", 16]]
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs=attributes)
    options = {} if tile is None else {"num_warps": tile.warps, "num_stages": tile.stages}
    return triton.compile(source, target=GPUTarget("cuda", case.capability, 32), options=options)


def resource_usage(cubin: bytes) -> dict[str, int]:
    """REG, STACK and LOCAL as the cuobjdump in Triton's own package reads them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(re.search(rf"{name}:(\d+)", text)[1]) for name in ("REG", "STACK", "LOCAL")}


def report_of(case: Case) -> Report:
    compiled = compile_case(case)
    ptx = compiled.asm["ptx"]
    usage = resource_usage(compiled.asm["cubin"])
    multiplications = len(re.findall(r"wgmma\.mma_async|mma\.sync|tcgen05\.mma", ptx))
    return Report(
        registers=usage["REG"],
        stack=usage["STACK"],
        local=usage["LOCAL"],
        shared=compiled.metadata.shared,
        stores=ptx.count("st.global"),
        fused_multiplications=multiplications,
    )


if __name__ == "__main__":
    cases = [Case(**case) for case in json.load(sys.stdin)]
    json.dump([asdict(report_of(case)) for case in cases], sys.stdout)
