"""The inline PTX of `kernels.unpack`, run by a small emulator: every code, in every place, exactly.

The interpreter takes another way through these functions, so without this the PTX would run on GPUs alone.
"""

import re
from pathlib import Path

import numpy as np
import pytest

import kernels
from tests.kernels.ptx import bfloat_of, half_of, run_ptx

SOURCE = (Path(kernels.__file__).parent / "unpack.py").read_text()


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
