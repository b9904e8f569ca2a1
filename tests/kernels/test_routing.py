# ruff: noqa: PLR0917 — a case has as many parts as it has
"""Who works, the gate between, and the sum after: against loops over tokens and experts."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels import combine, gate, route
from tests.kernels.cases import random_rows


@given(
    kind=st.sampled_from(["softmax", "sigmoid"]), groups=st.sampled_from([1, 2, 3]), each=st.integers(2, 4),
    kept=st.integers(1, 3), k=st.integers(1, 4), normalize=st.booleans(), biased=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_route(kind, groups, each, kept, k, normalize, biased, seed):
    kept, experts = min(kept, groups), groups * each
    k = min(k, kept * each)
    logits = random_rows((3, experts), torch.float32, seed)
    bias = random_rows((experts,), torch.float32, seed + 1) if biased else None
    expert, weight = route(
        logits, k, kind=kind, normalize=normalize, scale=2.5, bias=bias, groups=groups, kept_groups=kept
    )
    for token in range(3):
        row = logits[token].tolist()
        scores = [1 / (1 + math.exp(-x)) for x in row]
        if kind == "softmax":
            scores = [math.exp(x) / sum(map(math.exp, row)) for x in row]
        wanted = [score + (float(bias[e]) if biased else 0.0) for e, score in enumerate(scores)]
        best_of = []
        for g in range(groups):
            ordered = sorted(wanted[g * each : (g + 1) * each], reverse=True)
            best_of.append(sum(ordered[: 1 if kind == "softmax" else 2]))
        allowed = sorted(range(groups), key=lambda g: -best_of[g])[:kept]
        order = sorted((e for e in range(experts) if e // each in allowed), key=lambda e: -wanted[e])[:k]
        assert expert[token].tolist() == order
        expected = [scores[e] for e in order]
        total = sum(expected) if normalize else 1.0
        torch.testing.assert_close(weight[token], torch.tensor([2.5 * s / total for s in expected]))


def test_of_equal_scores_the_smaller_number_first():
    expert, weight = route(torch.zeros((1, 6)), 3)
    assert expert.tolist() == [[0, 1, 2]]
    assert expert.dtype == torch.int32
    torch.testing.assert_close(weight, torch.full((1, 3), 1 / 3))


def test_softmax_over_the_chosen_is_the_normalized_softmax():
    """What gpt-oss does."""
    logits = random_rows((4, 8), torch.float32)
    expert, weight = route(logits, 3)
    torch.testing.assert_close(weight, logits.gather(1, expert.long()).softmax(-1))


def test_gate():
    x = random_rows((3, 8), torch.float32)
    left, right = x[:, :4], x[:, 4:]
    torch.testing.assert_close(gate(x), left * left.sigmoid() * right)
    neighbours = torch.stack((left, right), -1).flatten(1)
    torch.testing.assert_close(gate(neighbours, "gelu_tanh", interleaved=True), gate(x, "gelu_tanh"))
    bias, expert = random_rows((2, 8), torch.float32, 3), torch.tensor([1, 2, 0])
    moved = x + torch.stack((bias[1], torch.zeros(8), bias[0]))
    out = gate(x, "clamped_swiglu", limit=0.5, bias=bias, expert=expert)
    a, b = moved[:, :4].clamp(max=0.5), moved[:, 4:].clamp(-0.5, 0.5)
    torch.testing.assert_close(out, a * (1.702 * a).sigmoid() * (b + 1))


def test_combine():
    x, weight, residual = random_rows((6, 5), torch.float32), torch.rand(2, 3), torch.ones(2, 5)
    bias, expert = random_rows((2, 5), torch.float32, 3), torch.tensor([[0, 1, 2], [1, 1, 0]])
    out = combine(x, weight, bias=bias, expert=expert, residual=residual)
    for token in range(2):
        expected = residual[token].clone()
        for i in range(3):
            number = int(expert[token, i])
            own = x[3 * token + i] + (bias[number] if number < 2 else 0)
            expected += weight[token, i] * own
        torch.testing.assert_close(out[token], expected)


def test_what_is_refused():
    logits = torch.zeros((2, 6))
    for options in ({"groups": 4}, {"groups": 2, "kept_groups": 3}, {"kind": "hash"}):
        with pytest.raises(ValueError, match="can't route"):
            route(logits, 2, **options)
    with pytest.raises(ValueError, match="4 experts of 6 in 1 of 2 groups"):
        route(logits, 4, groups=2)
    with pytest.raises(ValueError, match="no silu of gate and up"):
        gate(torch.zeros((2, 5)))
    with pytest.raises(ValueError, match="columns"):
        gate(torch.zeros((2, 6)), bias=torch.zeros(5))
    with pytest.raises(ValueError, match="for weights"):
        combine(torch.zeros((5, 4)), torch.zeros((2, 2)))
