"""Sharing out bits: against every combination on small problems, and within a second on large ones."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantizer.allocation import Problem, hull


def every_combination(costs, values, limit):
    """The least value within the limit, by trying all; None where nothing fits."""
    fitting = [
        sum(values[s][c] for s, c in enumerate(picks))
        for picks in itertools.product(*(range(len(row)) for row in costs))
        if sum(costs[s][c] for s, c in enumerate(picks)) <= limit
    ]
    return min(fitting, default=None)


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_small_problems_come_out_as_the_best_of_all_combinations(seed, share):
    random = np.random.default_rng(seed)
    costs = [sorted(random.integers(1, 50, 4).tolist()) for _ in range(5)]
    values = [sorted(random.random(4).tolist(), reverse=True) for _ in range(5)]
    low, high = sum(row[0] for row in costs), sum(row[-1] for row in costs)
    limit = low + share * (high - low)
    found = Problem(costs, values).least(limit)
    best = every_combination(costs, values, limit)
    assert found is not None
    assert found.cost <= limit * (1 + 1e-9)
    assert found.value == pytest.approx(sum(values[s][c] for s, c in enumerate(found.picks)))
    assert found.value == pytest.approx(best)


def test_candidates_like_those_of_a_model_come_out_within_a_percent():
    random = np.random.default_rng(1)
    off = []
    for _ in range(20):
        sizes = random.choice([1.0, 1.5, 3.0], 6)
        weights = random.uniform(0.3, 3.0, 6)
        bits = np.array([3.02, 3.25, 4.02, 4.25, 8.02])
        costs = [(size * bits).tolist() for size in sizes]
        values = [(weight * 4.0 ** (3 - bits)).tolist() for weight in weights]
        limit = float(sizes.sum() * 4.1)
        found = Problem(costs, values).least(limit)
        off.append(found.value / every_combination(costs, values, limit) - 1)
    assert max(off) < 0.01


def test_one_choice_for_all_is_never_better_where_it_just_fits():
    """128 sets are left to Lagrange's way, which alone is off by half there."""
    random = np.random.default_rng(9)
    widths, groups = (3, 4, 8), (4096, 128, 64, 32)
    bits = np.array([b + 16 / g for b in widths for g in groups] + [16])
    noise = 4.0 ** (3 - np.array([b for b in widths for _ in groups]))
    noise *= np.tile([1.6, 1.1, 1, 0.9], len(widths))
    sizes = random.choice([1.7e7, 2.5e7, 5.9e7, 1.2e8], 128)
    costs = (sizes[:, None] * bits / 8).round()
    values = random.lognormal(0, 0.5, (128, 1)) * np.append(noise, 0)
    everywhere = [[index] * 128 for index in range(len(bits))]
    problem = Problem(costs.tolist(), values.tolist(), everywhere)
    for index in range(len(bits)):
        found = problem.least(costs[:, index].sum())
        assert found.value <= values[:, index].sum() * (1 + 1e-9)


def test_a_limit_under_the_cheapest_is_impossible_and_one_over_the_dearest_gives_the_best():
    problem = Problem([[1, 2], [1, 3]], [[5, 1], [5, 1]])
    assert problem.least(1.9) is None
    assert problem.least(2).picks == (0, 0)
    assert problem.least(99).picks == (1, 1)


def test_the_frontier_goes_down_and_is_convex():
    random = np.random.default_rng(3)
    costs, values = random.random((30, 13)).tolist(), random.random((30, 13)).tolist()
    passed = Problem(costs, values).frontier()
    cost = np.array([point.cost for point in passed])
    value = np.array([point.value for point in passed])
    assert (np.diff(cost) > 0).all()
    slopes = np.diff(value) / np.diff(cost)
    assert (slopes < 0).all()
    assert (np.diff(slopes) > -1e-9).all()
    for point in passed[:: len(passed) // 5]:
        assert Problem(costs, values).least(point.cost).value <= point.value + 1e-9


def test_the_hull_leaves_out_what_others_beat():
    costs, values = np.array([1.0, 2, 2, 3, 4]), np.array([8.0, 9, 5, 4.8, 1])
    assert hull(costs, values) == [0, 2, 4]


def test_a_thousand_matrices_take_under_a_second():
    random = np.random.default_rng(5)
    bits = np.array([b + 16 / g for b in (3, 4, 8) for g in (4096, 128, 64, 32)] + [16])
    sizes = random.choice([4.0e6, 1.6e7, 4.5e7], 1000)
    costs = sizes[:, None] * bits / 8
    values = random.lognormal(0, 1, 1000)[:, None] * 4.0 ** (3 - bits) * random.uniform(0.7, 1.3, (1000, 13))
    values[:, -1] = 0
    begun = time.process_time()
    problem = Problem(costs.tolist(), values.tolist(), [[index] * 1000 for index in range(len(bits))])
    for target in (3.3, 3.6, 4.25, 6):
        found = problem.least(float(sizes.sum() * target / 8))
        assert found.cost <= sizes.sum() * target / 8
        assert found.cost > sizes.sum() * target / 8 * 0.9999
    assert (time.process_time() - begun) / 4 < 1
