"""The inline PTX of `kernels.unpack`, run by a small emulator: every code, in every place, exactly.

The interpreter takes another way through these functions, so without this the PTX would run on GPUs alone.
"""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import kernels

SOURCE = (Path(kernels.__file__).parent / "unpack.py").read_text()
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
    for bit in range(32):
        place = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1)
        result |= (table >> place & 1) << bit
    return result


def prmt(a: int, b: int, selector: int) -> int:
    """Four bytes picked out of the eight of a and b."""
    both = a | b << 32
    return sum((both >> 8 * (selector >> 4 * i & 7) & 0xFF) << 8 * i for i in range(4))


INSTRUCTIONS: dict[str, Callable[..., int]] = {
    "mov.b32": lambda a: a,
    "shr.u32": lambda a, n: a >> n,
    "lop3.b32": lop3,
    "prmt.b32": prmt,
    "sub.f16x2": lambda a, b: both_halves(lambda x, y: x - y, half_of, bits_of_half, a, b),
    "fma.rn.f16x2": lambda a, b, c: both_halves(lambda x, y, z: x * y + z, half_of, bits_of_half, a, b, c),
    "fma.rn.bf16x2": lambda a, b, c: both_halves(
        lambda x, y, z: x * y + z, bfloat_of, bits_of_bfloat, a, b, c
    ),
}


def run_ptx(text: str, inputs: dict[str, int], outputs: int) -> list[int]:
    """The registers $0 … after the block."""
    registers = dict(inputs)
    statements = [part.strip() for part in text.strip().strip("{}").split(";")]
    for statement in statements:
        if not statement or statement.startswith(".reg"):
            continue
        name, operands = statement.split(None, 1)
        target, *sources = [operand.strip() for operand in operands.split(",")]
        values = [registers[s] if s in registers else int(s, 0) for s in sources]
        registers[target] = INSTRUCTIONS[name](*values) & MASK
    return [registers[f"${i}"] for i in range(outputs)]


def ptx_of(function: str, dtype: str) -> str:
    """The block of one function for one dtype, out of the source."""
    body = SOURCE.split(f"def {function}(")[1].split("@triton.jit")[0]
    half, bfloat = re.findall(r'"""(\{.*?\})"""', body, re.DOTALL)
    return half if dtype == "float16" else bfloat


def values_of(registers: list[int], dtype: str) -> list[list[float]]:
    """[pair][field] as numbers."""
    read = half_of if dtype == "float16" else bfloat_of
    return [[read(register & 0xFFFF), read(register >> 16)] for register in registers]


def words_with_every_field() -> list[int]:
    """Every value of a 16-bit field with every byte, and random words."""
    generator = np.random.default_rng(0)
    words = [byte * 0x01010101 for byte in range(256)]
    return words + [int(word) for word in generator.integers(0, 1 << 32, 600)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("bits", "pairs"), [(8, 2), (4, 4), (3, 5)])
def test_unpacked_words(bits, pairs, dtype):
    text = ptx_of(f"unpack_{bits}", dtype)
    for word in words_with_every_field():
        out = values_of(run_ptx(text, {f"${pairs}": word}, pairs), dtype)
        for i in range(pairs):
            for field in range(2):
                stored = word >> (16 * field + bits * i) & ((1 << bits) - 1)
                assert out[i][field] == stored - (1 << (bits - 1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_code_that_three_words_share(dtype):
    text = ptx_of("unpack_3_last", dtype)
    words = words_with_every_field()
    for three in zip(words, words[1:], words[2:], strict=False):
        out = values_of(run_ptx(text, {f"${j + 1}": word for j, word in enumerate(three)}, 1), dtype)
        for field in range(2):
            stored = sum((word >> (16 * field + 15) & 1) << j for j, word in enumerate(three))
            assert out[0][field] == stored - 4
