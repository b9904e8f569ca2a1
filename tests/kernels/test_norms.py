"""Norms in plain torch against the formulas in float64, and where they round."""

import pytest
import torch

from kernels import Norm, norm
from tests.kernels.cases import TOLERANCE, random_rows, relative_error

EPS = 1e-5


def rms(x: torch.Tensor) -> torch.Tensor:
    wide = x.double()
    return wide / (wide.square().mean(-1, keepdim=True) + EPS).sqrt()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_formulas(dtype):
    x, residual = random_rows((3, 2, 24), dtype), random_rows((3, 2, 24), dtype, 2)
    weight, before, bias = (random_rows((24,), dtype, 3 + i) for i in range(3))
    total = x.double() + residual.double()
    tolerance = 2 * TOLERANCE[dtype]
    for kind in ("rms", "rms_once"):
        normed, summed = norm(x, weight, eps=EPS, kind=kind, residual=residual)
        assert relative_error(summed, total) <= tolerance
        assert relative_error(normed, rms(summed) * weight.double()) <= tolerance
        normed, summed = norm(x, weight, eps=EPS, kind=kind, residual=residual, before=before)
        assert relative_error(summed, rms(x) * before.double() + residual.double()) <= tolerance
        assert relative_error(normed, rms(summed) * weight.double()) <= tolerance
    normed, summed = norm(x, weight, bias, eps=EPS, kind="layer", residual=residual)
    wide = summed.double()
    centred = wide - wide.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + EPS).sqrt()
    assert relative_error(normed, expected * weight.double() + bias.double()) <= tolerance
    assert relative_error(norm(summed, None, eps=EPS, kind="layer")[0], expected) <= tolerance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounds_like_the_fused_norm(dtype):
    """The norm in front of a fused matmul and this one are the same bits."""
    x, weight = random_rows((5, 48), dtype), random_rows((48,), dtype, 2)
    assert torch.equal(norm(x, weight, eps=EPS)[0], Norm(weight, EPS).apply(x))


def test_what_is_not_asked_for_is_not_made():
    x, residual, before = (random_rows((2, 8), torch.bfloat16, i) for i in range(3))
    assert norm(x, x[0], eps=EPS)[1] is x
    normed, summed = norm(x, None, eps=EPS, residual=residual, before=before[0])
    assert normed is summed


def test_what_is_refused():
    x = torch.zeros(2, 8)
    with pytest.raises(ValueError, match="8 features"):
        norm(x, torch.ones(7), eps=EPS)
    with pytest.raises(ValueError, match="residual"):
        norm(x, torch.ones(8), eps=EPS, residual=x[:1])
    with pytest.raises(ValueError, match="needs a weight"):
        norm(x, None, eps=EPS)
