"""Plain data of a run: the read curve, the limit, and the way through JSON."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.kernels.layers import MAIN, SCHEMES, Layer, Scheme
from benchmarks.kernels.points import Record, Roof, along, geometric_mean
from kernels.packing import words_per_row
from tests.benchmarks.kernel_records import record, roof


def test_a_record_comes_back_from_json_as_it_was(tmp_path):
    made = record()
    made.save(tmp_path / "run.json")
    assert Record.load(tmp_path / "run.json") == made


def test_the_curve_is_straight_between_sizes_and_goes_on_beyond():
    curve = ((10, 1.0), (20, 3.0), (40, 4.0))
    assert [along(curve, x) for x in (10, 15, 20, 30, 40, 60)] == [1.0, 2.0, 3.0, 3.5, 4.0, 5.0]


def test_below_the_smallest_size_no_read_is_faster_than_it():
    assert along(((10, 1.0), (20, 3.0)), 1) == 1.0


def test_a_curve_needs_two_points():
    with pytest.raises(ValueError, match="two points"):
        along(((10, 1.0),), 5)


def test_the_limit_is_the_read_where_rows_are_few_and_the_operations_where_they_are_many():
    layer = Layer("A", "b", 1000, 1000)
    assert roof().limit(10_000_000, layer.operations(1)) == pytest.approx(11.0)
    assert roof().limit(10_000_000, layer.operations(1000)) == pytest.approx(20.0)  # 2e9 at 1e14 a second


def test_without_dependent_launches_the_plain_curve_stands_in():
    plain = Roof(roof().read, (), 1.0)
    assert plain.read_microseconds(10_000_000, dependent=True) == plain.read_microseconds(10_000_000)


def test_geometric_mean():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([]))


@given(st.sampled_from(list(SCHEMES.values())), st.integers(1, 50), st.integers(1, 20))
def test_packed_bytes_are_those_of_the_packed_matrix(scheme: Scheme, n: int, groups: int):
    k = groups * 384
    words = words_per_row(k, scheme.bits)
    scales = 1 if scheme.group_size is None else k // scheme.group_size
    assert scheme.packed_bytes(n, k) == n * (4 * words + 2 * scales)


def test_groups_of_128_cost_an_eighth_of_a_bit():
    assert MAIN.packed_bytes(4096, 4096) * 8 / 4096**2 == 4.125
