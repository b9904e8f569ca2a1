"""Signed and searched scales against explicit loops, and what they may never do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from fqconsole.errors import OperatorError
from kernels.packing import pack_codes
from quantizer.rounding import absmax_scales, dequantize, largest_code, round_to_codes, signed_scales
from quantizer.scale_search import CLIPPINGS, GAUSSIAN_STEP, searched_scales
from tests.quantizer.test_rounding import matrices

BITS = st.sampled_from([8, 4, 3])


def rounded(matrix, scales, bits):
    return dequantize(round_to_codes(matrix, scales, bits), scales)


@settings(deadline=None, max_examples=60)
@given(matrices(), BITS)
def test_a_signed_scale_gives_the_largest_magnitude_the_lowest_code(made, bits):
    matrix, group, dtype = made
    matrix = matrix.float()
    scales = signed_scales(matrix, bits, group, dtype, "w")
    codes = round_to_codes(matrix, scales, bits)
    size = matrix.shape[1] if group is None else group
    for row in range(matrix.shape[0]):
        for place in range(matrix.shape[1] // size):
            weights = matrix[row, place * size : (place + 1) * size]
            largest = max(weights.max(), weights.min(), key=abs)  # of two alike the positive one
            scale = float(scales[row, place])
            if largest == 0:
                assert scale == 1
            elif abs(scale) >= torch.finfo(dtype).tiny:
                expected = -float(largest) / 2 ** (bits - 1)
                if abs(abs(scale) / abs(expected) - 1) < 2**-8 and scale * expected > 0:
                    at = place * size + int((weights == largest).nonzero()[0])
                    assert int(codes[row, at]) == -largest_code(bits) - 1
                else:  # as good as the unsigned one where 16 bits hold no better
                    assert scale == float(absmax_scales(matrix, bits, group, dtype, "w")[row, place])


@settings(deadline=None, max_examples=40)
@given(matrices(), BITS, st.booleans())
def test_the_search_finds_what_an_explicit_loop_finds(made, bits, weighted):
    matrix, group, dtype = made
    matrix = matrix.float()
    size = matrix.shape[1] if group is None else group
    importance = torch.linspace(0.1, 2.0, matrix.shape[1]) if weighted else None
    found = searched_scales(matrix, bits, group, dtype, "w", importance=importance)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for row in range(matrix.shape[0]):
        for place in range(matrix.shape[1] // size):
            part = slice(place * size, (place + 1) * size)
            w = matrix[row, part].double()
            h = torch.ones(size).double() if importance is None else importance[part].double()
            largest = max(w.max(), w.min(), key=abs)  # of two alike the positive one
            if largest == 0 or abs(largest) < 2.0**-10:
                continue
            errors = []
            ratio = min(
                1.0, float(w.square().mean().sqrt() * GAUSSIAN_STEP.get(bits, 1) / (largest / low).abs())
            )
            for factor, exponent in CLIPPINGS if bits in GAUSSIAN_STEP else ():
                q = torch.round(w / (factor * ratio**exponent * largest / low)).clamp(low, high)
                scale = (h * w * q).sum() / (h * q * q).sum()
                errors.append(float((h * (w - scale * q).square()).sum()))
            if not errors:  # 8 bits: the signed scale
                scale = largest / low
                q = torch.round(w / scale).clamp(low, high)
                errors.append(float((h * (w - scale * q).square()).sum()))
            best = min(errors)
            stored = found[row, place].double()
            q = torch.round(w / stored).clamp(low, high)
            error = float((h * (w - stored * q).square()).sum())
            whole = float((h * w * w).sum())
            assert error <= best * 1.02 + whole * 2.0**-14  # 16 bits move the scale, rounding anew gains


@pytest.mark.parametrize("power", [2.0, 2.4, 3.0])
@pytest.mark.parametrize("bits", [4, 3])
@pytest.mark.parametrize("group", [None, 64])
def test_the_search_lowers_the_error_it_minimises(bits, group, power):
    matrix = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))

    def error(scales):
        return float((rounded(matrix, scales, bits) - matrix).abs().pow(power).sum())

    plain, signed = (f(matrix, bits, group, torch.bfloat16, "w") for f in (absmax_scales, signed_scales))
    searched = searched_scales(matrix, bits, group, torch.bfloat16, "w", power=power)
    assert error(searched) < error(signed) < error(plain)


@pytest.mark.parametrize("bits", [4, 3])
@pytest.mark.parametrize("group", [None, 128, 16])
@pytest.mark.parametrize("tails", [2.5, 5.0, 1e6])
def test_a_few_clippings_are_as_good_as_many(bits, group, tails):
    """Whether the weights are Gaussian or have heavy tails: each group tells where to look."""
    made = torch.Generator().manual_seed(6)
    matrix = torch.randn(64, 2048, generator=made)
    matrix /= (torch.randn(64, 2048, generator=made).square() + tails).sqrt() / tails**0.5
    width = 2048 if group is None else group
    groups = matrix.view(64, -1, width)
    largest = groups.gather(-1, groups.abs().argmax(dim=-1, keepdim=True))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    best = torch.full(groups.shape[:2], torch.inf)
    for clipping in torch.linspace(0.04, 1, 97):
        codes = torch.round(groups / (clipping * largest / low)).clamp(low, high)
        scales = (codes * groups).sum(-1) / codes.square().sum(-1)
        best = torch.minimum(best, (groups - codes * scales.unsqueeze(-1)).square().sum(-1))
    scales = searched_scales(matrix, bits, group, torch.bfloat16, "w")
    assert float((rounded(matrix, scales, bits) - matrix).square().sum()) < 1.05 * float(best.sum())


def test_importance_moves_the_error_to_where_it_matters_less():
    matrix = torch.randn(64, 128, generator=torch.Generator().manual_seed(2))
    importance = torch.ones(128)
    importance[::2] = 100
    even = rounded(matrix, searched_scales(matrix, 3, None, torch.bfloat16, "w"), 3) - matrix
    weighted = searched_scales(matrix, 3, None, torch.bfloat16, "w", importance=importance)
    moved = rounded(matrix, weighted, 3) - matrix
    assert moved[:, ::2].norm() < even[:, ::2].norm()


@pytest.mark.parametrize("find", [signed_scales, searched_scales])
def test_zeros_stay_zeros_and_what_is_not_finite_is_refused(find):
    matrix = torch.zeros(2, 64)
    assert torch.equal(find(matrix, 4, 32, torch.bfloat16, "w").float(), torch.ones(2, 2))
    matrix[1, 7] = float("nan")
    with pytest.raises(OperatorError, match="w holds weights that are not finite"):
        find(matrix, 4, 32, torch.bfloat16, "w")


@pytest.mark.parametrize("find", [signed_scales, searched_scales])
def test_numbers_below_the_normal_ones_of_fp16_are_kept(find):
    matrix = torch.tensor([[1.0, -7.0, 3.0, 0.0] * 8]) * 2.0**-24
    scales = find(matrix, 4, None, torch.float16, "w")
    assert torch.equal(rounded(matrix, scales, 4), matrix)


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("group", [None, 64])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_kernels_multiply_by_negative_scales(bits, group, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    matrix = torch.randn(64, 256, generator=torch.Generator().manual_seed(4))
    scales = searched_scales(matrix, bits, group, torch.bfloat16, "w")
    assert (scales < 0).any()
    assert (scales > 0).any()
    codes = round_to_codes(matrix, scales, bits)
    packed = kernels.PackedMatrix(pack_codes(codes, bits), scales, bits, group, 256).to(device)
    prepared = kernels.prepare(packed, dtype=torch.bfloat16)
    x = torch.randn(3, 256, generator=torch.Generator().manual_seed(5)).bfloat16().to(device)
    found = kernels.linear(x, prepared).float().cpu()
    expected = x.float().cpu() @ dequantize(codes, scales).T
    assert float((found - expected).norm() / expected.norm()) < 0.01


@pytest.mark.parametrize("find", [signed_scales, searched_scales])
def test_rows_are_independent_of_each_other(find):
    matrix = torch.randn(16, 128, generator=torch.Generator().manual_seed(3))
    whole = find(matrix, 4, 32, torch.bfloat16, "w")
    cut = torch.cat([find(rows, 4, 32, torch.bfloat16, "w") for rows in matrix.split(3)])
    assert torch.equal(whole, cut)
