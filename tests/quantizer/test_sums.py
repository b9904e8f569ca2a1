"""Sums that have one result, whatever the order in which a device adds."""

import pytest
import torch

from quantizer.sums import CHUNK, exact_sum, on_grid, ordered_sum, weighted_sum

SCALES = (1e-30, 3e-5, 1.0, 7e4)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 2, 3, 16, 48, 127, 128, 1003])
def test_sums_have_one_order(length):
    """That of single additions of halves: no device may choose another, as it may in `torch.sum`."""
    values = torch.randn(5, 3, length, generator=torch.Generator().manual_seed(length))
    expected = values.clone().numpy()
    left = length
    while left > 1:
        half = left // 2
        for place in range(half):
            expected[..., place] += expected[..., left - half + place]
        left -= half
    exact = values.double().sum(-1)
    found = ordered_sum(values)
    values.fill_(float("nan"))  # its room may be used again at once
    assert torch.equal(found, torch.from_numpy(expected[..., 0].copy()))
    assert torch.allclose(found.double(), exact, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_a_grid_keeps_numbers_within_half_a_step(scale, bits):
    values = numbers(7, 50) * scale
    largest = values.abs().amax(-1)
    found = on_grid(values.clone(), largest, bits)
    step = torch.exp2(torch.ceil(torch.log2(largest.double())) - bits).unsqueeze(-1)
    assert bool(((found.double() - values.double()).abs() <= step / 2).all())
    assert torch.equal(found.double() / step, torch.round(found.double() / step))
    assert torch.equal(on_grid(torch.zeros(2, 5), torch.zeros(2), bits), torch.zeros(2, 5))


@pytest.mark.parametrize("length", [16, 48, 64, 127, 128, 1003, 4096])
@pytest.mark.parametrize("scale", SCALES)
def test_what_lies_on_a_grid_adds_up_the_same_in_every_order(length, scale):
    """Squares of 9 bits, and 15 bits times codes of 4, in chunks of CHUNK."""
    values = numbers(6, length, seed=length) * scale
    largest = values.abs().amax(-1)
    codes = torch.randint(-8, 8, (6, length), generator=torch.Generator().manual_seed(1)).float()
    squares = on_grid(values.clone() / largest.unsqueeze(-1), torch.ones(6), 9).square()
    products = on_grid(values.clone(), largest, 15) * codes
    for terms in (squares, products):
        chunk = next(size for size in range(CHUNK, 0, -1) if length % size == 0)
        chunks = terms.unflatten(-1, (-1, chunk))
        for order in (torch.arange(chunk), torch.arange(chunk).flip(0), torch.randperm(chunk)):
            total = torch.zeros(chunks.shape[:-1])
            for place in order.tolist():
                total += chunks[..., place]
            assert torch.equal(total.double(), chunks.double().sum(-1))  # no rounding on the way
        assert torch.allclose(exact_sum(terms).double(), terms.double().sum(-1), rtol=1e-5, atol=0.01 * scale)


def test_squares_are_weighted_by_column():
    squares, weights = numbers(5, 40).square(), numbers(40, seed=3).square()
    expected = float((squares.double() * weights.double()).sum())
    assert float(weighted_sum(squares.clone(), weights)) == pytest.approx(expected, rel=1e-5)
