"""Each measure against an explicit loop over positions and vocabulary."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.evaluation.measures import (
    Totals,
    agreement_count,
    divergence_sum,
    log_probabilities,
    loss_sum,
)


def random_logits(seed, shape=(2, 3, 11)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def softmax(row):
    top = max(row)
    weights = [math.exp(value - top) for value in row]
    return [weight / sum(weights) for weight in weights]


def rows(logits):
    return [row for window in logits.tolist() for row in window]


@given(st.integers(0, 1000))
def test_loss_and_divergence_and_agreement(seed):
    reference, model = random_logits(seed), random_logits(seed + 5000)
    targets = torch.randint(0, 11, (2, 3), generator=torch.Generator().manual_seed(seed))
    loss = divergence = 0.0
    agreements = 0
    for p_row, q_row, target in zip(rows(reference), rows(model), targets.flatten().tolist(), strict=True):
        p, q = softmax(p_row), softmax(q_row)
        loss -= math.log(q[target])
        divergence += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        agreements += p.index(max(p)) == q.index(max(q))
    logp, logq = log_probabilities(reference), log_probabilities(model)
    assert loss_sum(logq, targets) == pytest.approx(loss, rel=1e-5)
    assert divergence_sum(logp, logq) == pytest.approx(divergence, rel=1e-4)
    assert agreement_count(logp, logq) == agreements


def test_a_model_against_itself_diverges_by_nothing():
    logp = log_probabilities(random_logits(1))
    assert divergence_sum(logp, logp) == 0.0


def test_a_token_without_a_chance_adds_nothing():
    reference = torch.tensor([[[0.0, float("-inf")]]])
    model = torch.log(torch.tensor([[[0.5, 0.5]]]))
    assert divergence_sum(reference, model) == pytest.approx(math.log(2))


def test_log_probabilities_are_float32_whatever_comes_in():
    assert log_probabilities(random_logits(2).bfloat16()).dtype == torch.float32


def test_totals_are_means():
    totals = Totals()
    assert math.isnan(totals.perplexity)
    totals.tokens, totals.loss, totals.divergence, totals.agreements = 4, 4 * math.log(8), 2.0, 3
    assert totals.perplexity == pytest.approx(8)
    assert totals.kl_divergence == 0.5
    assert totals.top1_agreement == 0.75
    totals.loss = 1e6
    assert totals.perplexity == math.inf
