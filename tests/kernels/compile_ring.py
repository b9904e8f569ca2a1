"""Compile the ring kernel for Hopper without one and report what came out. Run by `test_ring.py`.

Reads a JSON list of cases from standard input and writes a JSON list of reports.
"""

import json
import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon._runtime import GluonASTSource

from kernels.ring_plan import LINE, SCALES_LAYOUT, WORDS_LAYOUT, X_LAYOUT, RingPlan, box_lines
from kernels.ring_tiles import RingTile
from kernels.wide_tiles import WIDE_CAPABILITY
from kernels.wide_unpack import BLOCK
from tests.kernels.cases import lanes_without_memory
from tests.kernels.compile_offline import resource_usage
from tests.kernels.compile_wide import inner_loops

MULTIPROCESSORS = 132
TYPES = {"float16": "fp16", "bfloat16": "bf16"}


def report_of(case: dict[str, Any]) -> dict[str, Any]:
    """What the compiled kernel uses; in its loop, instructions by kind."""
    tile, dtype = RingTile(**case["tile"]), TYPES[case["dtype"]]
    w = lanes_without_memory(case["bits"], case["group_size"], 4096, 4096, getattr(torch, case["dtype"]))
    launch = RingPlan(w, tile, MULTIPROCESSORS, tile.rows).launches[False]
    constants = dict(zip(launch.names, launch.constants, strict=True)) | {"bias_ptr": None}
    halves = 16 * max(1, constants["GROUPS"])
    special = {
        "x_desc": f"tensordesc<{dtype}[{tile.stage_blocks}, {tile.rows}, {BLOCK}],{X_LAYOUT!r}>",
        "words_desc": f"tensordesc<i32[{tile.warps}, {box_lines(case['bits'])}, {LINE}],{WORDS_LAYOUT!r}>",
        "scales_desc": f"tensordesc<{dtype}[{tile.warps}, 1, {halves}],{SCALES_LAYOUT!r}>",
        "arrived_ptr": "*i32",
        "partial_ptr": "*fp32",
    }
    names = launch.kernel.arg_names
    signature, attributes = {}, {}
    for place, name in enumerate(names):
        pointer = name.endswith("_ptr")
        if name in constants:
            signature[name] = "constexpr"
        else:
            signature[name] = special.get(name, f"*{dtype}" if pointer else "i32")
            if pointer or name in ("x_rows", "N"):
                attributes[place,] = [["tt.divisibility", 16]]
    places = {(names.index(name),): value for name, value in constants.items()}
    source = GluonASTSource(fn=launch.kernel, signature=signature, constexprs=places, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", WIDE_CAPABILITY, 32), options=launch.options)
    loop = min(inner_loops(compiled.asm["cubin"]), key=len)
    used = resource_usage(compiled.asm["cubin"])

    def count(*kinds: str) -> int:
        return sum(instruction.split()[0].startswith(kinds) for instruction in loop)

    return {
        "registers": used["REG"],
        "local": used["LOCAL"],
        "stack": used["STACK"],
        "shared": compiled.metadata.shared,
        "instructions": len(loop),
        "multiplications": count("HGMMA"),
        "starts": count("WARPGROUP.ARRIVE"),
        "barriers": count("BAR"),
        "fences": count("MEMBAR"),
        "copies": count("UTMALDG"),
    }


if __name__ == "__main__":
    json.dump([report_of(case) for case in json.load(sys.stdin)], sys.stdout)
