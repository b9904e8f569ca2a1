# ruff: noqa: PLR0917 — a case has as many parts as it has
"""Numerics of the Triton kernels through Triton's interpreter. Run by `test_interpreter.py`.

Not collected with the other tests: the interpreter is chosen when Triton is imported, for the whole process.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.numerics import GROUPS, check_dequantize, check_every_weight, check_experts, check_matmul

BITS = st.sampled_from([8, 4, 3])
DTYPES = st.sampled_from([torch.float16, torch.bfloat16])


@settings(deadline=None, max_examples=70, derandomize=True)
@given(
    bits=BITS, group_size=st.sampled_from(GROUPS), dtype=DTYPES, scale_dtype=DTYPES, with_bias=st.booleans(),
    m=st.integers(1, 40), n=st.integers(1, 100), groups=st.integers(1, 5), k=st.integers(1, 900),
    split=st.sampled_from([None, 1, 2, 3]), scales_along_n=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_matmul(
    bits, group_size, dtype, scale_dtype, with_bias, m, n, groups, k, split, scales_along_n, seed
):
    k = k if group_size is None else groups * group_size
    check_matmul(
        bits, group_size, dtype, m, n, k, scale_dtype=scale_dtype, with_bias=with_bias, split=split,
        scales_along_n=scales_along_n, seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_every_weight(bits, group_size, dtype):
    check_every_weight(bits, group_size, dtype, k=256)


@pytest.mark.parametrize("m", [40, 130])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_more_rows_than_a_tile(bits, m):
    check_matmul(bits, 64, torch.float16, m, 136, 1088, with_bias=True)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    bits=BITS, group_size=st.sampled_from([None, 16, 64]), dtype=DTYPES, n=st.integers(16, 100),
    expert=st.lists(st.integers(0, 6), min_size=1, max_size=60), seed=st.integers(0, 99),
)  # fmt: skip
def test_experts(bits, group_size, dtype, n, expert, seed):
    """Five experts; ids 5 and 6 stand for none."""
    check_experts(bits, group_size, dtype, expert, 5, n, 192, seed=seed)


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_experts_with_many_rows_and_with_none(bits):
    check_experts(bits, 64, torch.bfloat16, [1] * 90 + [0] * 3 + [2] * 33, 4, 70, 128)


@pytest.mark.parametrize(("group_size", "k"), [(None, 1), (None, 77), (16, 1040), (64, 64), (256, 2304)])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_dequantize(bits, group_size, k):
    for dtype in (torch.float16, torch.bfloat16):
        check_dequantize(bits, group_size, dtype, k)
