"""The rule on given ranges: no tensors needed."""

import pytest

from quantizer.ladder import (
    RangeProfile,
    adaptive_rungs,
    base_group,
    choose_group,
    next_rung,
    pooled_fall,
    start_rung,
    statistic,
)

RUNGS4 = adaptive_rungs(4, 64)


def profile(k=1024, rows=10, **means):
    return RangeProfile(k, rows, {word.removeprefix("g"): mean for word, mean in means.items()})


def falling(r, k=1024):
    """A profile whose range falls by `r` at each halving from 256 down."""
    means = {"channel": 1.0, "256": r**2}
    for step, group in enumerate((128, 64, 32, 16), start=3):
        means[str(group)] = r**step
    return RangeProfile(k, 10, means)


def test_bases_of_the_bits():
    assert [base_group(bits) for bits in (8, 4, 3)] == [None, 64, 64]


@pytest.mark.parametrize(
    ("wanted", "ks", "expected"),
    [(64, [1024], 64), (64, [1024, 96], 32), (128, [192], 64), (64, [172], None), (None, [1024], None)],
)
def test_a_set_starts_at_the_largest_rung_that_divides_all_of_it(wanted, ks, expected):
    assert start_rung(wanted, RUNGS4, ks) == expected


def test_the_rung_under_channel_is_shorter_than_every_row():
    assert next_rung(None, RUNGS4, [256]) == 128
    assert next_rung(None, RUNGS4, [1024, 64]) == 32
    assert next_rung(32, RUNGS4, [1024]) is None


def test_channel_is_compared_per_halving():
    assert falling(0.5).fall(None, 256) == pytest.approx(0.5)
    assert falling(0.5).fall(64, 32) == pytest.approx(0.5)


@pytest.mark.parametrize(("r", "group"), [(0.69, 32), (0.71, 64)])
def test_the_threshold_decides(r, group):
    assert choose_group([falling(r)], 64, RUNGS4, 0.7).group_size == group


def test_int8_walks_all_the_way_from_channel():
    choice = choose_group([falling(0.5)], None, adaptive_rungs(8, None), 0.7)
    assert choice.group_size == 32
    assert "channel → 256 → 128 → 64 → 32" in choice.reason


def test_a_set_pools_ratios_by_groups_so_that_scaling_one_matrix_changes_nothing():
    quiet, loud = falling(0.9), falling(0.5)
    louder = RangeProfile(loud.k, loud.rows, {word: mean * 1e6 for word, mean in loud.means.items()})
    assert pooled_fall([quiet, loud], 64, 32) == pytest.approx(0.7)
    assert pooled_fall([quiet, louder], 64, 32) == pytest.approx(0.7)
    wide = RangeProfile(3 * loud.k, loud.rows, loud.means)
    assert pooled_fall([quiet, wide], 64, 32) == pytest.approx((0.9 + 3 * 0.5) / 4)


def test_a_matrix_of_zeros_gains_nothing():
    zero = RangeProfile(64, 4, {"channel": 0.0, "64": 0.0, "32": 0.0, "16": 0.0})
    assert choose_group([zero], 64, RUNGS4, 0.7).group_size == 64


@pytest.mark.parametrize(
    ("profiles", "base", "words"),
    [
        ([falling(0.9)], 64, "no outliers: base 64 kept (r=0.90)"),
        ([falling(0.5)], 64, "range falls with groups of 32: 64 → 32 (r(64)=0.50)"),
        ([RangeProfile(172, 4, {"channel": 1.0})], 64, "no group divides K=172: channel"),
        ([falling(0.9)], 32, "32 has no finer rung"),
        ([falling(0.9, k=96)], 64, "64 does not divide K=96: 32"),
    ],
)
def test_reasons_are_in_the_operators_words(profiles, base, words):
    assert choose_group(profiles, base, RUNGS4, 0.7).reason == words


def test_the_statistic_names_every_group_that_has_a_finer_rung():
    assert statistic([falling(0.5)], RUNGS4) == {"channel": 0.5, "256": 0.5, "128": 0.5, "64": 0.5}
    assert statistic([RangeProfile(172, 4, {"channel": 1.0})], RUNGS4) == {}
