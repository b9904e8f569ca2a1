"""An emulator of the few PTX instructions that the kernels' inline texts use, one lane at a time."""

import re
import struct
from collections.abc import Callable, Sequence

import numpy as np

MASK = 0xFFFFFFFF


def half_of(pattern: int) -> float:
    return float(np.frombuffer(struct.pack("<H", pattern), np.float16)[0])


def bits_of_half(value: float) -> int:
    return int(np.float16(value).view(np.uint16))


def bfloat_of(pattern: int) -> float:
    return struct.unpack("<f", struct.pack("<I", pattern << 16))[0]


def bits_of_bfloat(value: float) -> int:
    """Round to nearest even."""
    pattern = struct.unpack("<I", struct.pack("<f", value))[0]
    return ((pattern + 0x7FFF + ((pattern >> 16) & 1)) >> 16) & 0xFFFF


def both_halves(
    compute: Callable[..., float], read: Callable[[int], float], write: Callable[[float], int], *words: int
) -> int:
    """Apply `compute` to the low halves and to the high halves of 32-bit registers."""
    low = write(compute(*(read(word & 0xFFFF) for word in words)))
    high = write(compute(*(read(word >> 16) for word in words)))
    return low | high << 16


def lop3(a: int, b: int, c: int, table: int) -> int:
    """Bit i of `table` is the result where (a, b, c) spell i."""
    result = 0
    for spelled in range(8):
        if table >> spelled & 1:
            parts = [x if spelled >> place & 1 else ~x for x, place in ((a, 2), (b, 1), (c, 0))]
            result |= parts[0] & parts[1] & parts[2]
    return result & MASK


def prmt(a: int, b: int, selector: int) -> int:
    """Four bytes picked out of the eight of a and b."""
    both = a | b << 32
    return sum((both >> 8 * (selector >> 4 * i & 7) & 0xFF) << 8 * i for i in range(4))


def on_halves(dtype: str, compute: Callable[..., float]) -> Callable[..., int]:
    """`compute` on float16 or bfloat16 pairs, rounded once."""
    read, write = (half_of, bits_of_half) if dtype == "f16x2" else (bfloat_of, bits_of_bfloat)
    return lambda *words: both_halves(compute, read, write, *words)


INSTRUCTIONS: dict[str, Callable[..., int]] = {
    "mov.b32": lambda a: a,
    "shr.u32": lambda a, n: a >> n,
    "lop3.b32": lop3,
    "prmt.b32": prmt,
    "cvt.s64.s32": lambda a: a - (a >> 31 << 32),
    "add.s64": lambda a, b: a + b,
}
for kind in ("f16x2", "bf16x2"):
    INSTRUCTIONS |= {
        f"add.{kind}": on_halves(kind, lambda x, y: x + y),
        f"sub.{kind}": on_halves(kind, lambda x, y: x - y),
        f"mul.{kind}": on_halves(kind, lambda x, y: x * y),
        f"fma.rn.{kind}": on_halves(kind, lambda x, y, z: x * y + z),
    }


def load(statement: str, registers: dict[str, int], memory: Sequence[int]) -> None:
    """`ld.global.nc.v2.b32 {a, b}, [base+8]`, of int32 words from address 0 on."""
    targets, base, offset = re.fullmatch(
        r"ld\.global\.nc(?:\.v\d)?\.b32 \{?([^{}\[]+?)\}?, \[(\w+)\+(\d+)\]", statement
    ).groups()
    names = [name.strip() for name in targets.split(",")]
    place, rest = divmod(registers[base] + int(offset), 4)
    assert rest == 0
    assert place % len(names) == 0, "a vector starts at a multiple of its size"
    registers |= dict(zip(names, memory[place : place + len(names)], strict=True))


def run_ptx(text: str, inputs: dict[str, int], outputs: int, memory: Sequence[int] = ()) -> list[int]:
    """The registers $0 … after the block; `memory` are the words from address 0 on."""
    registers = dict(inputs)
    statements = [part.strip() for part in text.strip().removeprefix("{").removesuffix("}").split(";")]
    for statement in statements:
        if not statement or statement.startswith(".reg"):
            continue
        if statement.startswith("ld."):
            load(statement, registers, memory)
            continue
        name, operands = statement.split(None, 1)
        target, *sources = [operand.strip() for operand in operands.split(",")]
        values = [registers[s] if s in registers else int(s, 0) for s in sources]
        result = INSTRUCTIONS[name](*values)
        registers[target] = result if "64" in name else result & MASK
    return [registers[f"${i}"] for i in range(outputs)]
