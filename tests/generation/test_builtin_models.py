"""A session on the models that come with fqconsole."""

import pytest

from fqconsole.demo import builtin_models, materialize
from fqconsole.generation import open_session
from fqconsole.generation.options import Sampling

SUGGESTED = {model.id: model.suggested_prompt for model in builtin_models()}


@pytest.mark.parametrize("model", ["demo", "demo-moe"])
def test_it_continues_the_suggested_prompt_in_whole_words(model):
    with open_session(materialize(model), device="cpu") as session:
        _, ids = session.render(SUGGESTED[model])
        answer = session.generate(ids, Sampling(temperature=0.7, seed=1, max_new_tokens=80))
        assert session.precision == "bf16"
        assert session.context == session.max_context == 1024
    words = answer.text.split()
    assert len(words) > 30
    assert sum(word.strip(".,!?\"'—“”").isalpha() for word in words) > 0.9 * len(words)


def test_rescaled_outliers_leave_the_16_bit_answer_as_it_is():
    answers = []
    for model in ("demo", "demo-outliers"):
        with open_session(materialize(model), device="cpu") as session:
            _, ids = session.render(SUGGESTED["demo"])
            answers.append(session.generate(ids, Sampling(temperature=0, max_new_tokens=24)))
    assert answers[0].token_ids == answers[1].token_ids
