"""Compile the repacking and dequantizing kernels for GPUs that are not here. Run by `test_layout_kernels.py`.

Writes a JSON list of what each uses, in a process of its own with the real compiler.
"""

import itertools
import json
import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.dequantize import dequantize_kernel
from kernels.repack import from_lanes_kernel, to_lanes_kernel
from tests.kernels.compile_offline import resource_usage

N, K, WARPS = 4096, 4096, 4


def report_of(
    kernel: Any, capability: int, bits: int, pair: int, constants: dict[str, Any]
) -> dict[str, Any]:
    """Registers, spills and the widest store of one kernel, compiled for a 4096 x 4096 matrix."""
    step = 128 if bits == 8 else 256
    steps, tiles = K // step, N // 16
    numbers = {"units": tiles * steps, "N": N, "K": K, "tiles": tiles, "steps": steps}
    numbers |= {"row_words": K * bits // 32, "runs": K // (4 * pair), "first_tile": 0, "rows": N}
    numbers |= {"groups": K // 64, "group_spread": 1}
    constants = constants | {"BITS": bits, "PAIR": pair}
    signature, attributes = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
            continue
        bits16 = kernel is to_lanes_kernel and name == "scales_ptr"
        signature[name] = ("*i16" if bits16 else "*i32") if name.endswith("_ptr") else "i32"
        fixed = not kernel.params[place].do_not_specialize
        if name.endswith("_ptr") or (fixed and numbers[name] % 16 == 0):
            attributes[(place,)] = [["tt.divisibility", 16]]
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs=attributes)
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": WARPS})
    usage = resource_usage(compiled.asm["cubin"])
    ptx = compiled.asm["ptx"]
    return {
        "kernel": kernel.__name__,
        "capability": capability,
        "bits": bits,
        "pair": pair,
        "registers": usage["REG"],
        "spills": usage["STACK"] + usage["LOCAL"],
        "shared": compiled.metadata.shared,
        "wide_stores": ptx.count(".v4.b32 [") + ptx.count(".v2.b32 ["),
    }


def reports() -> list[dict[str, Any]]:
    found = []
    cases = [(capability, 2) for capability in (80, 89, 90, 100)] + [(90, 1)]
    for (capability, pair), bits in itertools.product(cases, (8, 4, 3)):
        unpack = {"dtype": tl.bfloat16, "scale_dtype": tl.bfloat16, "EVEN": True, "INTERPRET": False}
        unpack |= {"WARPS": WARPS, "GROUPS": 2 if bits == 8 else 4}
        found.append(report_of(dequantize_kernel, capability, bits, pair, unpack))
        repack = {"EVEN": True, "WARPS": WARPS, "SCALES": unpack["GROUPS"]}
        found.append(report_of(to_lanes_kernel, capability, bits, pair, repack))
        found.append(report_of(from_lanes_kernel, capability, bits, pair, {"BLOCK": 512}))
    return found


if __name__ == "__main__":
    json.dump(reports(), sys.stdout)
