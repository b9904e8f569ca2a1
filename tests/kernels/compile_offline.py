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

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.decode_plan import Around, DecodePlan
from kernels.experts import ExpertsPlan
from kernels.lane_layout import LaneMatrix, lane_shapes
from kernels.launch import Launch
from kernels.tiles import Gpu, Tile, choose_tile

TYPES = {"float16": "*fp16", "bfloat16": "*bf16"}
# The others are the activations'.
POINTERS = dict.fromkeys(
    ("words_ptr", "scales_ptr", "order_ptr", "start_ptr", "end_ptr", "ready_ptr"), "*i32"
)
POINTERS |= dict.fromkeys(("fed_ptr", "next_squares_ptr", "sums_ptr"), "*fp32")
BRANCH = re.compile(r"\n\$L[^\n]*:|\n[^\n]*\bbra\b[^\n]*")
TRIP = re.compile(r"ldmatrix|[ls][td]\.shared")


@dataclass(frozen=True)
class Case:
    """One compilation, as a launch with these tensors would ask for it."""

    capability: int
    experts: int = 0  # of a stack; 0: one matrix
    bits: int = 4
    group_size: int | None = 64
    dtype: str = "float16"
    m: int = 1
    n: int = 4096
    k: int = 4096
    bias: bool = False
    residual: bool = False
    activation: str = ""
    norm: bool = False
    fed: bool = False
    feeds: bool = False
    tile: tuple[int, ...] | None = None  # of `kernels.tiles.Tile`; None: the one that would be chosen


@dataclass(frozen=True)
class Report:
    """What a compiled kernel uses; `stack` and `local` bytes a thread are register spills.

    `trips` counts what goes through shared memory in the stretches without a branch where the matrix unit is
    used, which is where the weights are; `barriers` those of the whole kernel.
    """

    registers: int
    stack: int
    local: int
    shared: int
    stores: int
    multiplications: int
    trips: int
    barriers: int
    dependent_launches: int


def matrix_of(case: Case) -> LaneMatrix:
    """The matrix or stack of a case; nothing is allocated for it."""
    shapes = lane_shapes(case.bits, case.group_size, case.n, case.k)
    stack = (case.experts,) if case.experts else ()
    words, scales = (torch.empty((*stack, *shape), device="meta", dtype=torch.int32) for shape in shapes)
    return LaneMatrix(
        words, scales, case.bits, case.group_size, case.n, case.k, getattr(torch, case.dtype)
    )  # fmt: skip


def launch_of(case: Case) -> tuple[Launch, set[str]]:
    """The launch that the case's plan would make, and the names of the arguments that it would leave out."""
    w = matrix_of(case)
    gpu = Gpu(case.capability)
    given = None if case.tile is None else Tile(*case.tile)
    if case.experts:
        plan = ExpertsPlan(w, case.m, gpu, tile=given, activation=case.activation or None)
        return plan.launch, {"order_ptr", "start_ptr", "end_ptr"} if not plan.sorted else set()
    paired = case.activation != ""
    chosen = given or choose_tile(case.bits, case.group_size, case.m, case.n, case.k, gpu=gpu, paired=paired)
    plan = DecodePlan(w, chosen, gpu, paired=paired)
    launch = plan.launch_for(
        Around(case.activation or None, case.bias, case.residual, case.norm, case.fed, case.feeds)
    )
    there = {"bias_ptr": case.bias, "residual_ptr": case.residual, "norm_ptr": case.norm, "fed_ptr": case.fed}
    there |= dict.fromkeys(("next_ptr", "next_scaled_ptr", "next_squares_ptr"), case.feeds)
    there |= dict.fromkeys(("sums_ptr", "ready_ptr"), plan.ready is not None)
    return launch, {name for name, is_there in there.items() if not is_there}


def compile_case(case: Case) -> Any:
    """The compiled kernel, as the launch asks for it."""
    launch, absent = launch_of(case)
    kernel = launch.kernel
    names = kernel.arg_names
    constants = dict(zip(launch.names, launch.constants, strict=True)) | dict.fromkeys(absent)
    types = POINTERS | {"eps": "fp32", "expert_ptr": "*i32" if "order_ptr" not in absent else "*i64"}
    signature = {}
    for name in names:
        kind = TYPES[case.dtype] if name.endswith("_ptr") else "i32"
        signature[name] = "constexpr" if name in constants else types.get(name, kind)
    places = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs={})
    return triton.compile(source, target=GPUTarget("cuda", case.capability, 32), options=launch.options)


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
    stretches = [text for text in BRANCH.split(ptx) if "mma.sync" in text]
    return Report(
        registers=usage["REG"],
        stack=usage["STACK"],
        local=usage["LOCAL"],
        shared=compiled.metadata.shared,
        stores=ptx.count("st.global"),
        multiplications=ptx.count("mma.sync"),
        trips=sum(len(TRIP.findall(text)) for text in stretches),
        barriers=len(re.findall(r"\bbar(?:rier)?\.", ptx)),
        dependent_launches=ptx.count("griddepcontrol.wait"),
    )


if __name__ == "__main__":
    cases = [Case(**case) for case in json.load(sys.stdin)]
    json.dump([asdict(report_of(case)) for case in cases], sys.stdout)
