# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The quantizer's block kernel against the plain path on the CPU, bit for bit. By `test_interpreter.py`."""

import math

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quantizer.block_kernel import block_on_gpu, scales_on_gpu
from quantizer.blocks import find_scales, quantize_rows
from quantizer.channels import Columns
from quantizer.ladder import RUNGS
from quantizer.methods import methods_of
from quantizer.plan import MatrixPlan, Plan
from quantizer.range_kernel import ranges_on_gpu
from quantizer.rounding import SCALE_DTYPES
from quantizer.scheme import Scheme

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
TINY = 2.0**-13  # float16 scales of such weights are subnormal


def plan_of(bits, group_size, method, scale_dtype):
    matrix = MatrixPlan("m", ("m.weight",), (4, 128), 0, "m", "m", Scheme(bits, group_size))
    plan = Plan("m", None, bits, "fixed", group_size, 0.7, scale_dtype, (matrix,), ())
    return matrix, msgspec.structs.replace(plan, methods=methods_of(method))


def weights(n, k, dtype, seed, size=0.02):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(n, k, generator=generator) * size
    made[torch.rand(n, k, generator=generator) < 0.01] *= 12
    made[-1, : k // 2] = 0
    return made.to(dtype)


def positive(count, seed, spread=1.0):
    return torch.exp2(torch.randn(count, generator=torch.Generator().manual_seed(seed)) * spread)


def check(rows, bits, group_size, method, scale_dtype, columns):
    matrix, plan = plan_of(bits, group_size, method, scale_dtype)
    right = quantize_rows(rows.clone(), matrix, plan, "m", columns=columns, first_row=1)
    count, dtype = len(rows), SCALE_DTYPES[scale_dtype]
    multipliers = None if columns.rows is None else columns.rows[1 : 1 + count]
    packed, scales, error, norm = block_on_gpu(
        rows, bits, group_size, plan.methods.scales, dtype, factors=columns.factors, multipliers=multipliers,
        importance=columns.importance,
    )  # fmt: skip
    assert torch.equal(scales.view(torch.int16), right.scales.view(torch.int16))
    assert torch.equal(packed, right.packed)
    assert error == pytest.approx(right.squared_error, rel=1e-5)
    assert norm == pytest.approx(right.squared_norm, rel=1e-5)
    wide = columns.prepared(rows, 1)
    alone = scales_on_gpu(wide, bits, group_size, plan.methods.scales, dtype, importance=columns.importance)
    found = find_scales(wide, matrix, plan, "m", columns.importance)
    assert torch.equal(alone.view(torch.int16), found.view(torch.int16))


@pytest.mark.parametrize("method", ["absmax", "signed", "search"])
@pytest.mark.parametrize("group_size", [16, 32, 64, 128])
@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_rows(bits, group_size, method, dtype):
    check(weights(9, 384, dtype, seed=bits), bits, group_size, method, "bfloat16", Columns())


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    bits=st.sampled_from([4, 3, 8]), group_size=st.sampled_from([16, 32, 64, 128]),
    method=st.sampled_from(["absmax", "signed", "search", "search+importance"]),
    dtype=st.sampled_from(DTYPES), scale_dtype=st.sampled_from(["bfloat16", "float16"]), n=st.integers(1, 17),
    groups=st.integers(1, 4), factors=st.booleans(), multipliers=st.booleans(),
    size=st.sampled_from([1.0, 0.02, TINY]), seed=st.integers(0, 999),
)  # fmt: skip
def test_prepared_rows(
    bits, group_size, method, dtype, scale_dtype, n, groups, factors, multipliers, size, seed
):
    k = max(32, group_size) * groups
    columns = Columns(
        positive(k, seed) if factors else None,
        positive(n + 3, seed + 1) if multipliers else None,
        positive(k, seed + 2, 3.0) if "importance" in method else None,
    )
    check(weights(n, k, dtype, seed, size), bits, group_size, method, scale_dtype, columns)


@pytest.mark.parametrize("method", ["absmax", "signed", "search"])
@pytest.mark.parametrize(
    ("value", "scale_dtype"),
    [
        (float("nan"), "bfloat16"),
        (float("inf"), "bfloat16"),
        (-float("inf"), "bfloat16"),
        (1e30, "bfloat16"),
        (1e-30, "bfloat16"),
        (1e7, "float16"),
    ],
)
def test_what_is_not_like_weights_is_left_to_the_plain_way(method, value, scale_dtype):
    rows = weights(5, 256, torch.bfloat16, seed=1)
    rows[2, 64:128] = value
    assert block_on_gpu(rows, 4, 64, method, SCALE_DTYPES[scale_dtype]) is None
    assert scales_on_gpu(rows, 4, 64, method, SCALE_DTYPES[scale_dtype]) is None


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    dtype=st.sampled_from(DTYPES), n=st.integers(1, 5), k=st.sampled_from([256, 2048, 2304]),
    factors=st.booleans(), multipliers=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_ranges(dtype, n, k, factors, multipliers, seed):
    rows = weights(n, k, dtype, seed)
    columns = Columns(
        positive(k, seed) if factors else None, positive(n, seed + 1) if multipliers else None, None
    )
    found = ranges_on_gpu(rows, columns.factors, columns.rows)
    assert found == pytest.approx(sums_of(columns.prepared(rows, 0)), rel=1e-12)


def sums_of(rows):
    """By one group after the other."""
    found = {}
    for word, group in [*((str(rung), rung) for rung in RUNGS), ("channel", rows.shape[1])]:
        found[word] = float(rows.double().view(len(rows), -1, group).abs().amax(-1).square().sum())
    return found


@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf")])
def test_a_range_that_is_not_finite_shows(value):
    rows = weights(3, 512, torch.bfloat16, seed=1)
    rows[1, 300] = value
    assert not any(map(math.isfinite, ranges_on_gpu(rows, None, None).values()))
