"""Rounding against an explicit loop, and its refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqconsole.errors import OperatorError
from quantizer.rounding import (
    absmax_scales,
    dequantize,
    group_absmax,
    largest_code,
    quantize_matrix,
    relative_error,
    squared_norms,
)

DTYPES = (torch.bfloat16, torch.float16)


@st.composite
def matrices(draw):
    group = draw(st.sampled_from([16, 32, 64]))
    rows, groups = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    dtype = draw(st.sampled_from(DTYPES))
    exponent = draw(st.integers(-6, 3))
    make = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    matrix = torch.randn(rows, groups * group, generator=make) * 10.0**exponent
    matrix[:, 0] *= draw(st.sampled_from([0.0, 1.0, 30.0]))
    channel = draw(st.booleans())
    # An outlier beyond float16's range would be an infinity, which is refused elsewhere.
    return matrix.clamp(-6e4, 6e4).to(dtype), None if channel else group, dtype


@settings(deadline=None, max_examples=60)
@given(matrices(), st.sampled_from([8, 4, 3]))
def test_codes_and_scales_equal_an_explicit_loop(made, bits):
    matrix, group, scale_dtype = made
    codes, scales = quantize_matrix(matrix, bits, group, scale_dtype, "w")
    rows, k = matrix.shape
    size = k if group is None else group
    for row in range(rows):
        for place in range(k // size):
            weights = matrix[row, place * size : (place + 1) * size].float()
            absmax = float(weights.abs().max())
            scale = float(scales[row, place])
            if absmax == 0:
                assert scale == 1
            else:
                assert abs(scale - absmax / largest_code(bits)) <= max(scale * 2**-7, 2.0**-24)
            for column in range(size):
                code = int(codes[row, place * size + column])
                exact = float(torch.tensor(float(weights[column])) / torch.tensor(scale))
                assert -largest_code(bits) - 1 <= code <= largest_code(bits)
                assert abs(code - exact) <= 0.5 + 1e-6 * abs(exact)


@settings(deadline=None, max_examples=60)
@given(matrices(), st.sampled_from([8, 4, 3]))
def test_no_weight_moves_by_more_than_half_a_step(made, bits):
    matrix, group, scale_dtype = made
    codes, scales = quantize_matrix(matrix, bits, group, scale_dtype, "w")
    moved = (dequantize(codes, scales) - matrix.float()).abs()
    groups = scales.shape[1]
    step = scales.float().repeat_interleave(matrix.shape[1] // groups, dim=1)
    assert bool((moved <= step * 0.5001).all())


def test_the_stored_scale_is_the_one_used_in_rounding():
    matrix = torch.tensor([[0.3001, -0.1999, 0.1001, 0.0501] * 8]).bfloat16()
    codes, scales = quantize_matrix(matrix, 4, None, torch.bfloat16, "w")
    again = torch.round(matrix.float() / scales.float())
    assert torch.equal(codes.float(), again.clamp(-8, 7))


def test_a_group_of_zeros_stays_zero():
    matrix = torch.zeros(2, 64)
    codes, scales = quantize_matrix(matrix, 4, 32, torch.bfloat16, "w")
    assert not codes.any()
    assert torch.equal(scales.float(), torch.ones(2, 2))


def test_fp16_weights_near_its_smallest_number_are_kept_exactly():
    smallest = 2.0**-24
    matrix = (torch.tensor([[1.0, -7.0, 3.0, 0.0] * 8]) * smallest).half()
    for bits in (8, 4):
        codes, scales = quantize_matrix(matrix, bits, None, torch.float16, "w")
        assert torch.equal(dequantize(codes, scales), matrix.float())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(bad):
    matrix = torch.ones(2, 32)
    matrix[1, 7] = bad
    with pytest.raises(OperatorError, match=r"layers\.3\.up_proj.*not finite"):
        absmax_scales(matrix, 4, 32, torch.bfloat16, "layers.3.up_proj")


def test_a_scale_beyond_fp16_is_refused_with_a_way_out():
    matrix = torch.full((1, 32), 1e6)
    with pytest.raises(OperatorError, match=r"does not fit in float16.*bfloat16 first"):
        absmax_scales(matrix, 4, 32, torch.float16, "w")


def test_relative_error_is_the_ratio_of_norms():
    matrix, rounded = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 3.0]])
    assert relative_error(*squared_norms(matrix, rounded)) == pytest.approx(1 / 5)
    assert relative_error(0.0, 0.0) == 0


@settings(deadline=None, max_examples=60)
@given(matrices(), st.integers(0, 3), st.sampled_from([None, 1, 2, 16]))
def test_the_largest_magnitudes_are_those_of_wide_floats_wherever_the_weights_lie(made, before, group):
    """Pairs of 16-bit weights are compared as one integer: also behind an odd number of others in memory."""
    matrix, _, dtype = made
    rows, k = matrix.shape
    matrix[0, 0] = float("inf") if before == 3 else -matrix[0, 0]
    memory = torch.zeros(before + matrix.numel(), dtype=dtype)
    lying = memory[before:].view(rows, k)
    lying.copy_(matrix)
    size = group or k
    wide = matrix.float().abs().reshape(rows, k // size, size).amax(dim=-1)
    assert torch.equal(group_absmax(lying, group), wide)
    assert torch.equal(group_absmax(lying.float(), group), wide)


def test_a_weight_that_is_no_number_is_found_at_every_place():
    for place in range(4):
        matrix = torch.ones(2, 16, dtype=torch.bfloat16)
        matrix[1, place] = float("nan")
        with pytest.raises(OperatorError, match="not finite"):
            absmax_scales(matrix, 4, 16, torch.bfloat16, "w")
