"""Splitting layers: every layer on one GPU, in order, and the fullest as empty as can be."""

from itertools import combinations, combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.fit.split import fits_within, split_layers

sizes = st.lists(st.integers(0, 50), min_size=0, max_size=7)


def held(layers, share, before, after):
    return (
        sum(layers[share.start : share.stop]) + (before if share.first else 0) + (after if share.last else 0)
    )


@given(sizes, st.integers(0, 60), st.integers(0, 60), st.integers(1, 4))
def test_no_other_split_has_a_smaller_fullest_gpu(layers, before, after, gpus):
    shares = split_layers(layers, before, after, [100] * gpus)
    assert len(shares) == gpus
    assert [share.start for share in shares[1:]] == [share.stop for share in shares[:-1]]
    assert (shares[0].start, shares[-1].stop) == (0, len(layers))
    fullest = max(held(layers, share, before, after) for share in shares)
    enough = len(layers) >= gpus  # a session on several GPUs leaves none without a layer
    cuts_of = (
        combinations(range(1, len(layers)), gpus - 1)
        if enough
        else (combinations_with_replacement(range(len(layers) + 1), gpus - 1))
    )
    best = min(
        max(
            sum(layers[start:stop]) + (before if place == 0 else 0) + (after if place == gpus - 1 else 0)
            for place, (start, stop) in enumerate(zip((0, *cuts), (*cuts, len(layers)), strict=True))
        )
        for cuts in cuts_of
    )
    assert fullest == best
    assert not enough or all(share.stop > share.start for share in shares)
    assert fits_within(layers, before, after, [best] * gpus)
    assert not fits_within(layers, before, after, [best - 1] * gpus) or best == 0


@pytest.mark.parametrize("gpus", [1, 3, 9])
def test_one_gpu_holds_everything_and_many_may_stay_empty(gpus):
    shares = split_layers([10, 10, 10], 5, 5, [100] * gpus)
    assert (shares[0].first, shares[-1].last) == (True, True)
    assert sum(share.stop - share.start for share in shares) == 3
