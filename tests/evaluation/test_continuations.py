"""What a session thinks of continuations, against the direct sum over one text at a time."""

import pytest
import torch

from fqconsole.errors import OperatorError
from fqconsole.evaluation.continuations import go_on, longest_input, score_continuations
from fqconsole.generation import open_session
from tests.generation.tiny_models import save_llama, write_tokenizer

PAIRS = [
    ([1, 7, 9], [11, 13]),
    ([5], [6]),
    (list(range(20, 60)), [3, 4, 5, 6]),
    ([2, 2, 2, 2], [9]),
    ([1, 7, 9], [12]),
]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = save_llama(tmp_path_factory.mktemp("continuations") / "llama", dtype=torch.float32)
    write_tokenizer(folder)
    with open_session(folder, device="cpu") as opened:
        yield opened


def direct(session, context, rest):
    ids = torch.tensor([[*context, *rest]])
    logp = torch.log_softmax(session.logits(ids)[0].double(), -1)
    places = range(len(context) - 1, len(context) + len(rest) - 1)
    total = sum(float(logp[at, token]) for at, token in zip(places, rest, strict=True))
    return total, all(int(logp[at].argmax()) == token for at, token in zip(places, rest, strict=True))


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_scores_are_those_of_each_alone_and_in_order(session, batch):
    told = []
    scores = score_continuations(session, PAIRS, batch=batch, told=told.append)
    for (context, rest), score in zip(PAIRS, scores, strict=True):
        total, greedy = direct(session, context, rest)
        assert score.log_likelihood == pytest.approx(total, abs=1e-4)
        assert score.greedy == greedy
    assert told == sorted(told)
    assert told[-1] == len(PAIRS)


def test_the_likeliest_token_is_greedy(session):
    best = int(session.logits(torch.tensor([[1, 7, 9]]))[0, -1].argmax())
    (score,) = score_continuations(session, [([1, 7, 9], [best])])
    assert score.greedy


def test_a_context_that_is_too_long_loses_its_start(session):
    longest = longest_input(session)
    context = [3 + at % 90 for at in range(longest + 40)]
    long, short = score_continuations(
        session, [(context, [5, 6]), (context[-(longest - 1) :], [5, 6])], batch=1
    )
    assert long.log_likelihood == pytest.approx(short.log_likelihood, abs=1e-4)


def test_answers_come_in_order_and_end_before_the_first_of_the_given_words(session):
    texts = ["Mara gave", "Otto thanked her and climbed", "Where"]
    told = []
    whole = go_on(session, texts, until=[], most_tokens=12, batch=2, told=told.append)
    assert told == [2, 3]
    assert [go_on(session, [text], until=[], most_tokens=12)[0] for text in texts] == whole
    stop = whole[0][len(whole[0]) // 2]
    assert go_on(session, texts, until=[stop, "never"], most_tokens=12) == [
        text.split(stop)[0] for text in whole
    ]


def test_numbers_that_are_none_are_told(session, monkeypatch):
    monkeypatch.setattr(session, "logits", lambda ids: torch.full((*ids.shape, 8), float("nan")))
    with pytest.raises(OperatorError, match="not a number"):
        score_continuations(session, [([1], [2])])
