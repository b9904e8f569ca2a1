"""A packed matrix checks its parts and dequantizes as its docstring says."""

import pytest
import torch

from kernels import PackedMatrix
from kernels.packing import unpack_codes
from tests.kernels.cases import random_matrix


@pytest.mark.parametrize("group_size", [None, 16, 64])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_dequantize_equals_the_definition(bits, group_size):
    w = random_matrix((5, 128), bits, group_size)
    codes = unpack_codes(w.codes, bits, 128)
    width = group_size or 128
    for n in range(5):
        for k in range(0, 128, 7):
            weight = float(codes[n, k]) * float(w.scales[n, k // width])
            assert float(w.dequantize(torch.float64)[n, k]) == pytest.approx(weight, rel=1e-12)


def test_dequantize_rounds_once():
    w = random_matrix((8, 64), 8, 32)
    exact = w.dequantize(torch.float64)
    assert torch.equal(w.dequantize(torch.bfloat16), exact.to(torch.bfloat16))
    assert torch.equal(w.dequantize(torch.float32).double(), exact)


def test_stacks_slices_and_sizes():
    stack = random_matrix((3, 6, 64), 3, 16)
    assert (stack.n, stack.k, stack.experts, stack.groups) == (6, 64, 3, 4)
    assert stack.bytes == 3 * 6 * (6 * 4 + 4 * 2)
    whole = stack.dequantize(torch.float32)
    assert torch.equal(stack.expert(2).dequantize(torch.float32), whole[2])
    assert stack.expert(2).experts is None
    assert torch.equal(stack.expert(1).row_slice(2, 5).dequantize(torch.float32), whole[1, 2:5])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bits": 5}, "bits must be"),
        ({"codes": torch.zeros(4, 8, dtype=torch.int64)}, "int32 words"),
        ({"codes": torch.zeros(4, 7, dtype=torch.int32)}, "codes are"),
        ({"codes": torch.zeros(8, dtype=torch.int32)}, "both be"),
        ({"scales": torch.zeros(4, 2, dtype=torch.int8)}, "scales must be"),
        ({"scales": torch.zeros(4, 3)}, "scales are"),
        ({"scales": torch.zeros(4, 2, 1)}, "both be"),
        ({"group_size": 48}, "does not divide"),
        ({"scales": torch.zeros(4, 2, device="meta")}, "scales on meta"),
    ],
)
def test_refusals(change, words):
    parts = {"codes": torch.zeros(4, 8, dtype=torch.int32), "scales": torch.ones(4, 2), "bits": 4}
    parts |= {"group_size": 32, "k": 64}
    PackedMatrix(**parts)
    with pytest.raises(ValueError, match=words):
        PackedMatrix(**(parts | change))
