"""What is written into a cache comes out again, in the order of the positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels import KeyValueCache
from kernels.key_values import quantize_rows
from tests.kernels.cases import random_rows


@given(length=st.integers(0, 20), capacity=st.integers(1, 9), latent=st.booleans(), seed=st.integers(0, 9))
def test_the_last_tokens_are_held(length, capacity, latent, seed):
    cache = KeyValueCache.empty(3, 1, capacity, 6, 4, latent=4 if latent else 0, dtype=torch.float32)
    keys, values = (
        random_rows((length, 1, 6), torch.float32, seed),
        random_rows((length, 1, 4), torch.float32),
    )
    for position in range(length):
        now = slice(position, position + 1)
        cache.write(keys[now], None if latent else values[now], torch.tensor([position]), torch.tensor([1]))
    first = max(0, length - capacity)
    out_keys, out_values = cache.read(1, first, length, torch.float32)
    assert torch.equal(out_keys, keys[first:].transpose(0, 1))
    expected = keys[first:, :, :4] if latent else values[first:]
    assert torch.equal(out_values, expected.transpose(0, 1))
    assert torch.count_nonzero(cache.keys[[0, 2]]) == 0


@given(seed=st.integers(0, 99), latent=st.booleans())
def test_codes_are_within_half_a_step(seed, latent):
    cache = KeyValueCache.empty(2, 1, 8, 6, 4, latent=4 if latent else 0, dtype=torch.int8)
    keys, values = (
        random_rows((2, 1, 6), torch.bfloat16, seed),
        random_rows((2, 1, 4), torch.bfloat16, seed + 1),
    )
    cache.write(keys, None if latent else values, torch.tensor([5, -1]), None)
    out_keys, out_values = cache.read(0, 5, 6, torch.float32)
    largest = keys[0].abs().max().float()
    assert (out_keys[0] - keys[0]).abs().max() <= largest / 127 * 0.501
    expected = keys[0, :, :4] if latent else values[0]
    assert (out_values[0] - expected).abs().max() <= expected.abs().max().float() / 127 * 0.501
    assert torch.count_nonzero(cache.keys[1]) == 0, "a token at position -1 is not stored"


def test_a_row_of_zeros_and_the_largest_number():
    codes, scales = quantize_rows(torch.tensor([[0.0, 0.0], [-65504.0, 65504.0], [1e-30, -5e-31]]))
    assert codes.tolist() == [[0, 0], [-127, 127], [127, -63]]
    assert torch.isfinite(scales).all()
    assert (scales > 0).all()


def test_bytes():
    assert KeyValueCache.empty(2, 3, 5, 8, 4).bytes == 2 * 3 * 5 * 12 * 2
    assert KeyValueCache.empty(2, 3, 5, 8, 4, dtype=torch.int8).bytes == 2 * 3 * 5 * (12 + 8)
    assert KeyValueCache.empty(2, 1, 5, 8, latent=6).bytes == 2 * 5 * 8 * 2


def test_what_is_refused():
    keys = torch.zeros(2, 1, 4, 6)
    with pytest.raises(ValueError, match="values or a latent part"):
        KeyValueCache(keys, None)
    with pytest.raises(ValueError, match="do not fit keys"):
        KeyValueCache(keys, torch.zeros(2, 2, 4, 6))
    with pytest.raises(ValueError, match="only they, have scales"):
        KeyValueCache(keys.to(torch.int8), keys.to(torch.int8))
    with pytest.raises(ValueError, match="float32"):
        KeyValueCache(keys.to(torch.int8), keys.to(torch.int8), (keys[..., 0].half(), keys[..., 0].half()))
    with pytest.raises(ValueError, match="whole tensors"):
        KeyValueCache(keys[:, :, ::2], keys[:, :, ::2])
    with pytest.raises(ValueError, match="can't give positions"):
        KeyValueCache(keys, keys).read(0, 0, 5, torch.float32)
