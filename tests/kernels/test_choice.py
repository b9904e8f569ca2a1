# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The choice of a token: the session's sampling, row by row, with the same noise."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.generation.options import Sampling
from fqconsole.generation.sampling import choose_token
from kernels import Filters, choose

VOCABULARY = 40


@given(
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]), top_k=st.sampled_from([0, 1, 5, 100]),
    top_p=st.sampled_from([1.0, 0.9, 0.2]), min_p=st.sampled_from([0.0, 0.05, 0.5]),
    penalty=st.sampled_from([1.0, 1.5]), seed=st.integers(0, 999),
)  # fmt: skip
def test_as_one_row_is_sampled(temperature, top_k, top_p, min_p, penalty, seed):
    """Noise as `torch.multinomial` draws it gives the very token that it gives."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((1, VOCABULARY), generator=generator)
    said = torch.randint(VOCABULARY, (6,), generator=generator)
    sampling = Sampling(temperature, top_p, top_k, min_p, penalty)
    expected = choose_token(logits[0], sampling, said, torch.Generator().manual_seed(seed))
    noise = torch.empty((1, VOCABULARY)).exponential_(1, generator=torch.Generator().manual_seed(seed))
    seen = torch.zeros((1, VOCABULARY), dtype=torch.uint8)
    seen[0, said] = 1
    filters = Filters(
        torch.tensor([temperature]), torch.tensor([top_k]), torch.tensor([top_p]), torch.tensor([min_p]),
        torch.tensor([penalty]),
    )  # fmt: skip
    tokens, bad = choose(logits, filters, noise, seen)
    assert tokens.tolist() == expected.tolist()
    assert seen[0, tokens[0]] == 1
    assert not bad.any()


def test_rows_are_sampled_each_in_its_way():
    """A row's token depends on its own filters and noise alone."""
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn((4, VOCABULARY), generator=generator)
    noise = torch.empty((4, VOCABULARY)).exponential_(1, generator=generator)
    filters = Filters(
        torch.tensor([0.0, 0.8, 1.3, 2.0]), torch.tensor([1, 0, 3, 0]), torch.tensor([0.1, 0.9, 1.0, 0.4])
    )
    together, _ = choose(logits, filters, noise)
    alone = [
        choose(
            logits[row : row + 1],
            Filters(*(part[row : row + 1] for part in (filters.temperature, filters.top_k, filters.top_p))),
            noise[row : row + 1],
        )[0]
        for row in range(4)
    ]
    assert torch.equal(together, torch.cat(alone))
    assert together[0] == logits[0].argmax()


def test_equal_logits_at_the_edge_of_top_p_stay_together():
    logits = torch.tensor([[1.0, 1.0, 1.0, 1.0, -9.0]])
    filters = Filters(torch.ones(1), top_p=torch.tensor([0.3]))
    drawn = set()
    for token in range(5):
        noise = torch.ones((1, 5))
        noise[0, token] = 1e-6
        drawn.add(int(choose(logits, filters, noise)[0]))
    assert drawn == {0, 1, 2, 3}


def test_a_nan_is_told():
    logits = torch.zeros((2, 9))
    logits[1, 4] = float("nan")
    assert choose(logits)[1].tolist() == [False, True]


def test_what_is_refused():
    logits = torch.zeros((2, 9))
    with pytest.raises(ValueError, match="a temperature needs noise"):
        choose(logits, Filters(torch.ones(2)))
    with pytest.raises(ValueError, match="needs the tokens seen"):
        choose(logits, Filters(penalty=torch.ones(2)))
    with pytest.raises(ValueError, match="like the logits"):
        choose(logits, Filters(torch.ones(2)), torch.ones((2, 8)))
