# ruff: noqa: PLR0917 — a case has as many parts as it has
"""Attention over a cache in plain torch against loops over positions; what the ways in refuse."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels import KeyValueCache, attend, attend_prompt, attend_rows
from tests.kernels.cases import random_rows, relative_error
from tests.kernels.step_checks import Heads, check_attend, check_attend_prompt

HEADS = st.sampled_from(
    [Heads(), Heads(3, 3, 8, 12), Heads(4, 1, 8, 8, coded=True), Heads(3, 1, 14, 8, latent=8)]
)


@given(
    heads=HEADS, lengths=st.lists(st.integers(0, 12), min_size=1, max_size=3),
    capacity=st.sampled_from([12, 5]), window=st.sampled_from([None, 4]),
    softcap=st.sampled_from([None, 2.0]), sinks=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_newest_token(heads, lengths, capacity, window, softcap, sinks, seed):
    """Sequences past the capacity have gone round the ring; what was never written is NaN and not read."""
    check_attend(attend, heads, lengths, capacity, window=window, softcap=softcap, sinks=sinks, seed=seed)


@given(
    heads=HEADS, first=st.integers(0, 9), rows=st.integers(1, 6), window=st.sampled_from([None, 3]),
    softcap=st.sampled_from([None, 2.0]), sinks=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_chunk_of_a_prompt(heads, first, rows, window, softcap, sinks, seed):
    capacity = 15 if window is None else window - 1 + rows
    check_attend_prompt(
        attend_prompt, heads, first, rows, capacity, window=window, softcap=softcap, sinks=sinks, seed=seed
    )


def test_a_long_chunk_in_pieces(monkeypatch):
    """Scores of a chunk that would not fit are made a few rows at a time, with the same result."""
    q, keys = random_rows((9, 2, 8), torch.float32), random_rows((1, 14, 8), torch.float32, 2)
    options = {"scale": 0.3, "window": 6, "softcap": 5.0}
    whole = attend_rows(q, keys, keys, 5, **options)
    monkeypatch.setattr("kernels.attention.SCORE_ELEMENTS", 2 * 14 * 2)
    assert relative_error(attend_rows(q, keys, keys, 5, **options), whole.double()) <= 1e-6


def test_what_is_refused():
    cache = KeyValueCache.empty(2, 2, 8, 16)
    q = random_rows((3, 4, 16), torch.bfloat16)
    lengths = torch.ones(3, dtype=torch.int32)
    with pytest.raises(ValueError, match="3 tokens, 3 lengths, 2 sequences"):
        attend(q, cache, lengths, scale=1.0)
    with pytest.raises(ValueError, match="do not fit a cache"):
        attend(q[:2, :3], cache, lengths[:2], scale=1.0)
    with pytest.raises(ValueError, match="sinks for 4 heads"):
        attend(q[:2], cache, lengths[:2], scale=1.0, sinks=torch.zeros(3))
    with pytest.raises(ValueError, match="can't give positions 0 to 9"):
        attend_prompt(q, cache, 0, 6, scale=1.0)
    with pytest.raises(ValueError, match="do not fit keys"):
        attend_rows(q, cache.keys[0], cache.keys[0], 6, scale=1.0)
