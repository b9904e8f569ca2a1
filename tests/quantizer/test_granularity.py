"""Measured ranges against an explicit loop, and what the rule makes of outliers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqconsole.errors import OperatorError
from quantizer.granularity import RangeMeter, measure_ranges
from quantizer.ladder import adaptive_rungs, base_group, choose_group

THRESHOLD = 0.7


def gaussian(rows=64, k=1024, seed=0):
    return torch.randn(rows, k, generator=torch.Generator().manual_seed(seed)) * 0.02


def choose(matrix, bits):
    base = base_group(bits)
    return choose_group([measure_ranges(matrix)], base, adaptive_rungs(bits, base), THRESHOLD)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 6),
    st.sampled_from([16, 32, 96, 100, 256, 512, 768]),
    st.integers(0, 1000),
    st.integers(1, 6),
)
def test_means_equal_an_explicit_loop_in_any_blocks_of_rows(rows, k, seed, block):
    matrix = gaussian(rows, k, seed).bfloat16()
    meter = RangeMeter("w", k)
    for first in range(0, rows, block):
        meter.add(matrix[first : first + block])
    profile = meter.profile()
    for word, mean in profile.means.items():
        group = k if word == "channel" else int(word)
        squares = [
            float(matrix[row, start : start + group].abs().max()) ** 2
            for row in range(rows)
            for start in range(0, k, group)
        ]
        assert mean == pytest.approx(sum(squares) / len(squares))
    assert set(profile.means) == {"channel", *(str(g) for g in (256, 128, 64, 32, 16) if k % g == 0)}


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_gaussian_weights_keep_the_base(bits):
    choice = choose(gaussian(), bits)
    assert choice.group_size == base_group(bits)
    assert choice.reason.startswith("no outliers: base ")


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_an_aligned_block_of_32_outlier_channels_is_found(bits):
    matrix = gaussian()
    matrix[:, 320:352] *= 16
    choice = choose(matrix, bits)
    assert choice.group_size == 32
    assert "range falls with groups of 32" in choice.reason


def test_only_int3_goes_down_to_16():
    matrix = gaussian()
    matrix[:, 320:336] *= 16
    assert choose(matrix, 4).group_size == 32
    assert choose(matrix, 3).group_size == 16


def test_outliers_in_both_halves_of_every_group_stop_the_walk_one_rung_early():
    """The rule looks one rung ahead: known, and written in its docstring."""
    matrix = gaussian()
    matrix.view(64, -1, 32)[:, :, :16] *= 16
    assert choose(matrix, 3).group_size == 64
    assert measure_ranges(matrix).fall(32, 16) < 0.6


def test_weights_that_are_not_finite_are_refused_by_name():
    matrix = gaussian(4, 64)
    matrix[2, 3] = float("nan")
    with pytest.raises(OperatorError, match=r"h\.0\.fc.*not finite"):
        measure_ranges(matrix, "h.0.fc")
