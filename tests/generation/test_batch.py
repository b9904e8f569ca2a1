"""Texts side by side answer what each would answer alone."""

import gc

import pytest
import torch

from fqconsole.errors import OperatorError, UsageError
from fqconsole.generation import batch
from fqconsole.generation.assembly import assemble
from fqconsole.generation.batch import BatchSteps, passes_of
from fqconsole.generation.options import Sampling
from fqconsole.generation.passes import Chunk
from fqconsole.generation.session import open_session
from fqconsole.generation.static_cache import StaticCache
from tests.generation.architectures import save_architecture
from tests.generation.conftest import SAVERS
from tests.generation.test_families import CPU, IDS, tiny_model
from tests.generation.tiny_models import write_tokenizer

PROMPTS = [[5, 9, 17, 30], [7], list(range(3, 40)), [5, 9, 17, 31, 32]]


@pytest.fixture(scope="module", params=["llama", "qwen3_moe"])
def session(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    SAVERS[request.param](folder, dtype=torch.float32)
    write_tokenizer(folder)
    with open_session(folder, device="cpu", context=60) as opened:
        yield opened


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, max_new_tokens=30),
        Sampling(temperature=1.0, top_k=40, repetition_penalty=1.2, seed=4, max_new_tokens=12),
    ],
)
def test_prompts_of_several_lengths_answer_as_each_alone(session, sampling):
    together = session.generate_batch(PROMPTS, sampling)
    for ids, found in zip(PROMPTS, together, strict=True):
        alone = session.generate(ids, sampling)
        assert found.token_ids == alone.token_ids
        assert (found.text, found.stop_reason) == (alone.text, alone.stop_reason)
        assert found.prompt_tokens == len(ids)


def test_a_batch_leaves_the_dialogue_where_it_was(session):
    greedy = Sampling(temperature=0, max_new_tokens=5)
    first = session.generate([5, 9, 17], greedy)
    session.generate_batch([[8, 9], [10]], greedy)
    assert session.generate([5, 9, 17, *first.token_ids, 20], greedy).reused_tokens == 7


def test_without_a_dialogue_a_batch_has_the_only_cache(tiny):
    def caches():
        gc.collect()
        return {id(item) for item in gc.get_objects() if type(item) is StaticCache}

    before = caches()
    with open_session(tiny("llama")[0], device="cpu", context=60) as session:
        assert len(caches() - before) == 1
        session.generate_batch(PROMPTS, Sampling(temperature=0, max_new_tokens=2))
        assert len(caches() - before) == 1
        session.generate([5, 9], Sampling(temperature=0, max_new_tokens=2))
        session.generate_batch(PROMPTS, Sampling(temperature=0, max_new_tokens=2))
        assert len(caches() - before) == 2  # the dialogue's too


def test_what_is_refused(session):
    with pytest.raises(UsageError, match="at most 64"):
        session.generate_batch([[5]] * 65, Sampling())
    with pytest.raises(OperatorError, match="context"):
        session.generate_batch([[5], [5] * 70], Sampling())
    assert session.generate_batch([], Sampling()) == []


def test_a_stop_ends_all_texts(session):
    answers = session.generate_batch(PROMPTS, Sampling(temperature=0), stop=lambda: True)
    assert [answer.stop_reason for answer in answers] == ["stopped"] * len(PROMPTS)


def test_a_family_without_a_description_answers_one_after_the_other(tmp_path):
    save_architecture("granite", tmp_path, torch.float32)
    write_tokenizer(tmp_path)
    greedy = Sampling(temperature=0, max_new_tokens=6)
    with open_session(tmp_path, device="cpu") as opened:
        assert opened.forward == "transformers"
        found = opened.generate_batch([[5, 6], [7]], greedy)
        assert [answer.token_ids for answer in found] == [
            opened.generate(ids, greedy).token_ids for ids in ([5, 6], [7])
        ]


@pytest.mark.parametrize("case", ["mistral, window", "gpt_oss, window", "deepseek_v3", "opt"])
def test_steps_of_texts_of_several_lengths_give_the_logits_of_transformers(case, monkeypatch):
    monkeypatch.setattr(batch, "PREFILL_CHUNK", 13)
    model = tiny_model(case)
    texts = [IDS[:9].tolist(), IDS[4:30].tolist(), IDS[1:4].tolist()]
    with torch.inference_mode():
        decoder = assemble(model, torch.float32, CPU)
        steps = BatchSteps(decoder, StaticCache(decoder, 3, 64))
        logits = steps.prompts(texts, lambda: False)
        for _ in range(12):
            for text, row in zip(texts, logits, strict=True):
                expected = model(torch.tensor([text]), use_cache=False).logits[0, -1]
                assert (row - expected).abs().max() < 1e-5 * expected.abs().max()
            tokens = logits.argmax(-1)
            for text, token in zip(texts, tokens.tolist(), strict=True):
                text.append(token)
            logits = steps.step(tokens, [True] * 3)


def test_prompts_are_cut_and_put_together_into_passes(monkeypatch):
    monkeypatch.setattr(batch, "PREFILL_CHUNK", 10)
    assert passes_of([4, 12, 3]) == [
        (Chunk(0, 0, 4), Chunk(1, 0, 6)),
        (Chunk(1, 6, 6), Chunk(2, 0, 3)),
    ]
    assert passes_of([10]) == [(Chunk(0, 0, 10),)]
