"""Rotary positions as complex numbers, norms before them, and what lands in the cache."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels import KeyValueCache, rotate_and_store, rotate_and_store_latent
from kernels.norms import normed_rows
from tests.kernels.cases import random_rows


def turned(x: torch.Tensor, angles: torch.Tensor, interleaved: bool) -> torch.Tensor:
    """x `[D]` with each pair as a complex number times e^(i angle), in float64."""
    pairs = len(angles)
    out = x.double().clone()
    for i, angle in enumerate(angles.double()):
        a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + pairs)
        number = torch.complex(out[a], out[b]) * torch.polar(torch.tensor(1.0, dtype=torch.float64), angle)
        out[a], out[b] = number.real, number.imag
    return out


@given(
    pairs=st.integers(0, 4), interleaved=st.booleans(), norm=st.sampled_from(["", "head", "whole"]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_every_head_of_every_token(pairs, interleaved, norm, seed):
    heads, kv_heads, width, value = 3, 2, 8, 5
    cache = KeyValueCache.empty(4, kv_heads, 4, width, value, dtype=torch.float32)
    qkv = random_rows((3, heads * width + kv_heads * (width + value)), torch.float32, seed)
    angles = random_rows((16, pairs), torch.float32, seed + 1)
    positions, rows = torch.tensor([9, -1, 2]), torch.tensor([3, 2, 1])
    sizes = {"": (), "head": (width, width), "whole": (heads * width, kv_heads * width)}[norm]
    weights = [random_rows((size,), torch.float32, seed + 2) for size in sizes]
    tables = (angles.cos(), angles.sin()) if pairs else (None, None)
    q_norm, k_norm = weights or (None, None)
    out = rotate_and_store(
        qkv, *tables, positions, cache, heads=heads, rows=rows, interleaved=interleaved, q_norm=q_norm,
        k_norm=k_norm, eps=1e-5,
    )  # fmt: skip
    q, k, v = qkv.split((heads * width, kv_heads * width, kv_heads * value), -1)
    if norm:
        q, k = (
            normed_rows(x.reshape(3, -1, weight.shape[0]), weight, None, 1e-5, "rms").reshape(3, -1)
            for x, weight in zip((q, k), weights, strict=True)
        )
    for token in (0, 2):
        of_token = angles[positions[token]]
        for head in range(heads):
            expected = turned(q[token].view(heads, width)[head], of_token, interleaved)
            torch.testing.assert_close(out[token, head].double(), expected, rtol=1e-5, atol=1e-6)
        place = (rows[token], slice(None), positions[token] % 4)
        for head in range(kv_heads):
            expected = turned(k[token].view(kv_heads, width)[head], of_token, interleaved)
            torch.testing.assert_close(cache.keys[place][head].double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(cache.values[place], v[token].view(kv_heads, value))
    assert int((cache.keys != 0).any(-1).any(1).sum()) == 2, "no other slot of any sequence was touched"


@given(interleaved=st.booleans(), seed=st.integers(0, 99))
def test_latent(interleaved, seed):
    cache = KeyValueCache.empty(2, 1, 4, 10, latent=6, dtype=torch.float32)
    q, latent = random_rows((2, 3, 4), torch.float32, seed), random_rows((2, 10), torch.float32, seed + 1)
    queries = torch.ones(2, 3, 10)
    angles = random_rows((16, 2), torch.float32, seed + 2)
    weight = random_rows((6,), torch.float32, seed + 3)
    positions = torch.tensor([9, 2])
    rotate_and_store_latent(
        q, latent, queries, angles.cos(), angles.sin(), positions, cache, weight=weight,
        interleaved=interleaved,
    )  # fmt: skip
    assert (queries[..., :6] == 1).all(), "the absorbed queries are the caller's"
    for token, position in enumerate(positions.tolist()):
        for head in range(3):
            expected = turned(q[token, head], angles[position], interleaved)
            torch.testing.assert_close(queries[token, head, 6:].double(), expected, rtol=1e-5, atol=1e-6)
        stored = cache.keys[token, 0, position % 4]
        expected = turned(latent[token, 6:], angles[position], interleaved)
        torch.testing.assert_close(stored[6:].double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(stored[:6], normed_rows(latent[token, :6], weight, None, 1e-6, "rms"))


def test_what_is_refused():
    cache = KeyValueCache.empty(2, 1, 4, 8, dtype=torch.float32)
    qkv, angles, positions = torch.zeros(2, 32), torch.zeros(4, 4), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="is not 3 and two times 1 heads"):
        rotate_and_store(qkv, angles, angles, positions, cache, heads=3)
    with pytest.raises(ValueError, match="do not fit heads of 8"):
        rotate_and_store(qkv, torch.zeros(4, 5), torch.zeros(4, 5), positions, cache, heads=2)
    with pytest.raises(ValueError, match="given together"):
        rotate_and_store(qkv, angles, None, positions, cache, heads=2)
    with pytest.raises(ValueError, match="as many positions"):
        rotate_and_store(qkv, angles, angles, positions[:1], cache, heads=2)
    with pytest.raises(ValueError, match="together or not at all"):
        rotate_and_store(qkv, angles, angles, positions, cache, heads=2, q_norm=torch.ones(8))
    with pytest.raises(ValueError, match="rotate_and_store_latent"):
        latent = KeyValueCache.empty(2, 1, 4, 8, latent=4)
        rotate_and_store(qkv, angles, angles, positions, latent, heads=2)
    with pytest.raises(ValueError, match="does not fit a cache"):
        rotate_and_store_latent(
            torch.zeros(2, 2, 4), torch.zeros(2, 9), torch.zeros(2, 2, 8), angles, angles, positions, cache,
            weight=None,
        )  # fmt: skip
