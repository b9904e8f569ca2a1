"""Compile the wide kernel for Hopper without one and report what came out. Run by `test_compile_wide.py`.

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
from triton.experimental.gluon._runtime import GluonASTSource

from kernels.wide_experts import WideExpertsPlan
from kernels.wide_tiles import WIDE_CAPABILITY, WideTile, choose_routed_tiles
from tests.kernels.cases import lanes_without_memory
from tests.kernels.compile_offline import resource_usage

TYPES = {"float16": "*fp16", "bfloat16": "*bf16"}
INTEGERS = ("words_ptr", "row_ptr", "expert_ptr")  # other pointers: the activations' type
ALIGNED = ("x_rows", "N")  # multiples of 16 in every case
MULTIPROCESSORS = 132
LOCAL = ("LDL", "STL")
# An instruction of a disassembly: its address and, without the predicate before it, its text.
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?(.*?);")
LABEL = re.compile(r"(\.L_\w+):")


@dataclass(frozen=True)
class Case:
    """One compilation, as `WideExpertsPlan` would ask for it, with `m` rows of x for each expert."""

    m: int
    experts: int = 8
    n: int = 4096
    k: int = 4096
    bits: int = 4
    group_size: int | None = 64
    dtype: str = "float16"


@dataclass(frozen=True)
class Report:
    """What a compiled kernel uses, beside its tile.

    `stack` bytes a thread; `from_shared` matrix instructions whose left operand is not in registers; `loops`
    that are innermost and hold a matrix instruction. In these, where the weights are unpacked: `trips` of
    registers to shared memory, `spills` to local memory or back, `barriers`, `fences` that wait for memory.
    """

    tile: dict[str, int]
    registers: int
    stack: int
    shared: int
    multiplications: int
    from_shared: int
    loops: int
    trips: int
    spills: int
    barriers: int
    fences: int
    dependent_launches: int


def compile_case(case: Case, tile: WideTile) -> Any:
    """The compiled kernel; Triton finds the constants and options of a real launch in it."""
    w = lanes_without_memory(
        case.bits, case.group_size, case.n, case.k, getattr(torch, case.dtype), experts=case.experts
    )
    launch = WideExpertsPlan(w, tile, MULTIPROCESSORS).products[0]
    names = launch.kernel.arg_names
    constants = dict(zip(launch.names, launch.constants, strict=True))
    signature, attributes = {}, {}
    for place, name in enumerate(names):
        if name in constants:
            signature[name] = "constexpr"
            continue
        pointer = name.endswith("_ptr")
        signature[name] = "i32" if not pointer else "*i32" if name in INTEGERS else TYPES[case.dtype]
        if pointer or name in ALIGNED:
            attributes[place,] = [["tt.divisibility", 16]]
    places = {(names.index(name),): value for name, value in constants.items()}
    source = GluonASTSource(fn=launch.kernel, signature=signature, constexprs=places, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", WIDE_CAPABILITY, 32), options=launch.options)


def inner_loops(cubin: bytes) -> list[list[str]]:
    """The instructions of each innermost loop that holds a warpgroup's matrix instruction."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        command = [str(tool), "--print-code", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    instructions: list[str] = []
    labels: dict[str, int] = {}
    loops: list[tuple[int, int]] = []
    for line in text.splitlines():
        label, found = LABEL.match(line.strip()), INSTRUCTION.search(line)
        if label:
            labels[label[1]] = len(instructions)
        elif found:
            instructions.append(found[2])
            target = re.match(r"BRA.*`\((\.L_\w+)\)", found[2])
            if target and target[1] in labels:  # backwards
                loops.append((labels[target[1]], len(instructions)))
    with_matrix = [(start, end) for start, end in loops if count([instructions[start:end]], ("HGMMA",))]
    return [
        instructions[start:end]
        for start, end in with_matrix
        if not any(start <= a and b <= end and (a, b) != (start, end) for a, b in with_matrix)
    ]


def count(loops: list[list[str]], names: tuple[str, ...]) -> int:
    """Instructions whose name starts with one of `names`."""
    return sum(instruction.startswith(names) for loop in loops for instruction in loop)


def report_of(case: Case) -> Report:
    tile, _ = choose_routed_tiles(case.bits, case.m, case.k)
    compiled = compile_case(case, tile)
    ptx = compiled.asm["ptx"]
    usage = resource_usage(compiled.asm["cubin"])
    loops = inner_loops(compiled.asm["cubin"])
    lefts = re.findall(r"wgmma\.mma_async\S+\s+\{[^}]*\},\s*(\S)", ptx)
    return Report(
        tile=asdict(tile),
        registers=usage["REG"],
        stack=usage["STACK"],
        shared=compiled.metadata.shared,
        multiplications=len(lefts),
        from_shared=sum(left != "{" for left in lefts),
        loops=len(loops),
        trips=count(loops, ("STS",)),  # STSM too; asynchronous copies are LDGSTS
        spills=count(loops, LOCAL),
        barriers=count(loops, ("BAR",)),
        fences=count(loops, ("MEMBAR",)),
        dependent_launches=ptx.count("griddepcontrol.wait"),
    )


if __name__ == "__main__":
    cases = [Case(**case) for case in json.load(sys.stdin)]
    json.dump([asdict(report_of(case)) for case in cases], sys.stdout)
