"""Every filter against an explicit loop over the vocabulary."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqconsole.generation.chooser import Chooser
from fqconsole.generation.options import Sampling
from fqconsole.generation.sampling import (
    choose_token,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    shape_logits,
)

# Distinct logits: with ties "the k largest" has no single answer.
logit_rows = st.lists(
    st.integers(-4000, 4000).map(lambda i: i / 500), min_size=1, max_size=40, unique=True
).map(lambda values: torch.tensor(values, dtype=torch.float32))


def kept(logits):
    return {i for i, value in enumerate(logits.tolist()) if value != float("-inf")}


def probabilities(logits):
    top = max(logits.tolist())
    weights = [math.exp(value - top) for value in logits.tolist()]
    return [weight / sum(weights) for weight in weights]


@given(logit_rows, st.integers(0, 45))
def test_top_k_keeps_the_k_largest(logits, k):
    expected = set(range(len(logits)))
    if k:
        expected = set(sorted(expected, key=lambda i: -logits[i].item())[:k])
    assert kept(keep_top_k(logits, k)) == expected


@given(logit_rows, st.floats(0.05, 1.0))
def test_top_p_keeps_the_fewest_that_reach_p(logits, p):
    chances = probabilities(logits)
    order = sorted(range(len(logits)), key=lambda i: -chances[i])
    expected, reached = set(), 0.0
    for i in order:
        if expected and reached >= p:
            break
        expected.add(i)
        reached += chances[i]
    found = kept(keep_top_p(logits, p))
    borderline = abs(sum(chances[i] for i in found) - p) < 1e-5 or p == 1.0
    assert found == expected or borderline


@given(logit_rows, st.floats(0.0, 0.99))
def test_min_p_keeps_what_is_likely_enough(logits, p):
    chances = probabilities(logits)
    found = kept(keep_min_p(logits, p))
    for i, chance in enumerate(chances):
        if abs(chance - p * max(chances)) > 1e-6:
            assert (i in found) == (chance >= p * max(chances))


@given(logit_rows, st.data())
def test_repetition_penalty_lowers_what_was_seen_and_nothing_else(logits, data):
    seen = data.draw(st.lists(st.integers(0, len(logits) - 1), max_size=8))
    penalized = penalize_repetition(logits, torch.tensor(seen, dtype=torch.int64), 1.5).tolist()
    for i, before in enumerate(logits.tolist()):
        expected = before if i not in seen else (before / 1.5 if before > 0 else before * 1.5)
        assert penalized[i] == pytest.approx(expected, rel=1e-6)


@given(logit_rows, st.floats(0.1, 3), st.floats(0.05, 1), st.floats(0, 0.9), st.integers(0, 10))
def test_some_token_always_stays(logits, temperature, top_p, min_p, top_k):
    sampling = Sampling(temperature=temperature, top_p=top_p, min_p=min_p, top_k=top_k)
    shaped = shape_logits(logits, sampling, torch.zeros(0, dtype=torch.int64))
    assert logits.argmax().item() in kept(shaped)


def test_greedy_takes_the_largest_after_the_penalty():
    logits = torch.tensor([1.0, 3.0, 2.5])
    nothing = torch.zeros(0, dtype=torch.int64)
    assert choose_token(logits, Sampling(temperature=0), nothing, None).tolist() == [1]
    penalty = Sampling(temperature=0, repetition_penalty=2.0)
    assert choose_token(logits, penalty, torch.tensor([1]), None).tolist() == [2]


def test_draws_follow_the_probabilities():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    generator = torch.Generator().manual_seed(1)
    sampling = Sampling(temperature=1.0, top_p=1.0)
    seen = torch.zeros(0, dtype=torch.int64)
    counts = [0, 0, 0]
    for _ in range(4000):
        counts[choose_token(logits, sampling, seen, generator).item()] += 1
    for count, share in zip(counts, (0.5, 0.3, 0.2), strict=True):
        assert abs(count / 4000 - share) < 0.03  # 3.8 standard deviations of the largest share


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_the_same_seed_draws_the_same(seed):
    logits = torch.linspace(-2, 2, 50)
    sampling = Sampling(temperature=1.0)
    seen = torch.zeros(0, dtype=torch.int64)

    def draw():
        generator = torch.Generator().manual_seed(seed)
        return [choose_token(logits, sampling, seen, generator).item() for _ in range(10)]

    assert draw() == draw()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(temperature=0, repetition_penalty=1.3),
        Sampling(temperature=0.9, top_p=0.9, seed=3),
        Sampling(temperature=1.2, top_k=7, min_p=0.02, repetition_penalty=1.1, seed=3),
    ],
)
def test_texts_side_by_side_get_the_tokens_of_one_row_after_the_other(sampling):
    prompts = [[1, 2, 3], [30], [5, 5, 9, 11]]
    logits = torch.randn(6, 3, 50, generator=torch.Generator().manual_seed(1)) * 3
    chooser = Chooser(sampling, prompts, 50, torch.device("cpu"))
    generators = [torch.Generator().manual_seed(sampling.seed or 0) for _ in prompts]
    seen = [torch.tensor(ids) for ids in prompts]
    for step in logits:
        tokens = chooser.choose(step)
        expected = [
            choose_token(row, sampling, before, generator)
            for row, before, generator in zip(step, seen, generators, strict=True)
        ]
        assert tokens.tolist() == torch.cat(expected).tolist()
        assert chooser.take() == [(token.item(), False) for token in expected]
        seen = [torch.cat(pair) for pair in zip(seen, expected, strict=True)]


def test_a_nan_is_told_of_its_own_text_alone():
    chooser = Chooser(Sampling(temperature=0), [[1], [1]], 4, torch.device("cpu"))
    chooser.choose(torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, float("nan"), 0.0, 0.0]]))
    assert [bad for _, bad in chooser.take()] == [False, True]
