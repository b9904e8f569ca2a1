"""A dialogue goes on from the keys and values of its earlier turns, and from nothing else."""

import pytest
import torch

from fqconsole.generation.assembly import assemble
from fqconsole.generation.options import Sampling
from fqconsole.generation.session import open_session
from fqconsole.generation.static_cache import StaticCache
from fqconsole.generation.steps import DecoderSteps
from tests.generation.conftest import SAVERS
from tests.generation.test_families import CPU, IDS, tiny_model
from tests.generation.tiny_models import write_tokenizer

GREEDY = Sampling(temperature=0, max_new_tokens=8)


@pytest.fixture
def session(tmp_path):
    SAVERS["llama"](tmp_path, dtype=torch.float32)
    write_tokenizer(tmp_path)
    with open_session(tmp_path, device="cpu") as opened:
        opened.end_tokens = frozenset()
        yield opened


def fresh(session, ids):
    with open_session(session.path, device="cpu") as other:
        other.end_tokens = frozenset()
        return other.generate(ids, GREEDY)


def test_a_second_turn_computes_only_what_is_new_and_answers_as_a_fresh_session(session):
    first = session.generate([5, 9, 17, 30], GREEDY)
    turn = [5, 9, 17, 30, *first.token_ids, 44, 45]
    second = session.generate(turn, GREEDY)
    assert first.reused_tokens == 0
    assert second.reused_tokens == 4 + 7  # the last token of an answer never went through the model
    assert second.prompt_tokens == len(turn)
    expected = fresh(session, turn)
    assert expected.reused_tokens == 0
    assert second.token_ids == expected.token_ids


def test_an_answer_cut_into_other_tokens_is_reused_as_far_as_it_agrees(session):
    first = session.generate([5, 9, 17, 30], GREEDY)
    turn = [5, 9, 17, 30, *first.token_ids[:3], 200, 201]
    second = session.generate(turn, GREEDY)
    assert second.reused_tokens == 4 + 3
    assert second.token_ids == fresh(session, turn).token_ids


@pytest.mark.parametrize("ids", [[5, 9, 17, 30], [5, 9, 17, 31, 32], [7]])
def test_the_same_prompt_again_and_another_one_are_computed_whole(session, ids):
    session.generate([5, 9, 17, 30], GREEDY)
    answer = session.generate(ids, GREEDY)
    assert answer.reused_tokens == 0
    assert answer.token_ids == fresh(session, ids).token_ids


def test_after_a_failure_nothing_is_reused(session):
    first = session.generate([5, 9, 17, 30], GREEDY)
    turn = [5, 9, 17, 30, *first.token_ids, 44]
    with pytest.raises(ZeroDivisionError):
        session.generate(turn, GREEDY, on_tokens=lambda text, count, rate: 1 / 0)
    assert session.generate(turn, GREEDY).reused_tokens == 0


def test_another_context_forgets_the_text_and_goes_on(session):
    first = session.generate([5, 9, 17, 30], GREEDY)
    session.resize(40)
    turn = [5, 9, 17, 30, *first.token_ids, 44]
    answer = session.generate(turn, GREEDY)
    assert (session.context, answer.cache_tokens, answer.reused_tokens) == (40, 40, 0)
    assert answer.token_ids == fresh(session, turn).token_ids


@pytest.mark.parametrize("again", [1, 2, 12])
def test_a_window_that_has_slid_on_is_not_rolled_back(again):
    """Its text may lose the last token; what lies further back is overwritten."""
    model = tiny_model("mistral, window")
    with torch.inference_mode():
        decoder = assemble(model, torch.float32, CPU)
        steps = DecoderSteps(decoder, StaticCache(decoder, 1, 64))
        ids = IDS.tolist()
        steps.start(ids[:10])
        steps.forward(ids[:10])
        for token in ids[10:30]:
            steps.step(torch.tensor([token]))
        steps.finish(ids[:30])
        turn = [*ids[: 30 - again + 1], *ids[3:9]]
        reused = steps.start(turn)
        assert reused == (30 - again + 1 if again <= 2 else 0)
        found = steps.forward(turn[reused:])
        expected = model(torch.tensor([turn]), use_cache=False).logits[0, -1]
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
