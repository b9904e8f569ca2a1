"""A session generates what the model would, streams it whole, and survives what goes wrong."""

import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from fqconsole.errors import OperatorError, UsageError
from fqconsole.generation.options import Sampling
from fqconsole.generation.session import open_session
from tests.generation.architectures import save_architecture
from tests.generation.conftest import SAVERS
from tests.generation.tiny_models import edit_tensors, save_llama, write_tokenizer

PROMPT = "Mara gave the red lamp"
GREEDY = Sampling(temperature=0, max_new_tokens=24)
NAMES = ["llama", "qwen3_moe", "opt"]


@pytest.fixture(scope="module")
def packed(tiny):
    with open_session(tiny("llama")[1]) as session:
        yield session


def greedy_by_transformers(folder, ids, count):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    out = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False)
    return out[0, len(ids) :].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_equal_those_of_transformers(tmp_path, name):
    """In float32: 16 bits round differently in the two forwards, and equal tokens would be luck."""
    SAVERS[name](tmp_path, dtype=torch.float32)
    write_tokenizer(tmp_path)
    with open_session(tmp_path, device="cpu") as session:
        assert session.forward == "fqconsole"
        _, ids = session.render(PROMPT)
        found = session.generate(ids, GREEDY)
    assert list(found.token_ids) == greedy_by_transformers(tmp_path, ids, 24)


def test_what_is_streamed_is_the_answer(packed):
    _, ids = packed.render(PROMPT)
    told = []
    answer = packed.generate(
        ids, Sampling(temperature=1.0, seed=3, max_new_tokens=40), on_tokens=lambda *event: told.append(event)
    )
    assert "".join(text for text, _, _ in told) == answer.text
    assert answer.text == packed.tokenizer.decode(answer.token_ids, skip_special_tokens=True)
    assert [count for _, count, _ in told] == sorted({count for _, count, _ in told})
    assert told[-1][1] == len(answer.token_ids) == 40
    assert answer.stop_reason == "length"


def test_what_is_measured(packed):
    _, ids = packed.render(PROMPT)
    answer = packed.generate(ids, GREEDY)
    assert answer.prompt_tokens == len(ids)
    assert answer.ttft_ms > 0
    assert answer.prefill_tok_s >= len(ids) / (
        answer.ttft_ms / 1000
    )  # TTFT holds the choice of the token as well
    assert answer.decode_tok_s is not None
    assert answer.decode_tok_s > 0
    assert answer.peak_bytes > packed.weights_bytes


def test_one_token_has_no_decode_speed(packed):
    _, ids = packed.render(PROMPT)
    answer = packed.generate(ids, Sampling(temperature=0, max_new_tokens=1))
    assert len(answer.token_ids) == 1
    assert answer.decode_tok_s is None


def test_a_seed_gives_the_same_answer_and_another_one_another(packed):
    _, ids = packed.render(PROMPT)

    def answer(seed):
        return packed.generate(ids, Sampling(temperature=1.0, seed=seed, max_new_tokens=20))

    assert answer(1).token_ids == answer(1).token_ids
    assert answer(1).token_ids != answer(2).token_ids
    assert answer(7).seed == 7


def test_a_drawn_seed_is_reported_and_repeats_the_answer(packed):
    _, ids = packed.render(PROMPT)
    drawn = packed.generate(ids, Sampling(temperature=1.0, max_new_tokens=12))
    again = packed.generate(ids, Sampling(temperature=1.0, max_new_tokens=12, seed=drawn.seed))
    assert drawn.token_ids == again.token_ids


def test_a_stop_string_ends_the_answer_before_it(packed):
    _, ids = packed.render(PROMPT)
    sampling = Sampling(temperature=1.0, seed=4, max_new_tokens=40)
    whole = packed.generate(ids, sampling).text
    stop = whole[10:13]  # wherever it comes first, and whichever tokens it is cut into
    told = []
    answer = packed.generate(
        ids,
        Sampling(temperature=1.0, seed=4, max_new_tokens=40, stop=(stop,)),
        on_tokens=lambda text, count, rate: told.append(text),
    )
    assert answer.stop_reason == "stop_string"
    assert answer.text == whole[: whole.index(stop)] == "".join(told)


def test_an_end_token_ends_the_answer(tiny):
    with open_session(tiny("llama")[1]) as session:
        _, ids = session.render(PROMPT)
        third = session.generate(ids, GREEDY).token_ids[2]
        session.end_tokens = frozenset({third})
        answer = session.generate(ids, GREEDY)
    assert answer.stop_reason == "end"
    assert answer.token_ids.index(third) == len(answer.token_ids) - 1


def test_a_stop_takes_effect_at_the_next_token_and_keeps_the_text(packed):
    _, ids = packed.render(PROMPT)
    asked = iter([False, False, False, True])  # before the prompt, then after each token
    answer = packed.generate(ids, GREEDY, stop=lambda: next(asked))
    assert answer.stop_reason == "stopped"
    assert len(answer.token_ids) == 3
    assert answer.text == packed.tokenizer.decode(answer.token_ids, skip_special_tokens=True)


def test_a_stop_before_the_first_token_gives_an_empty_answer(packed):
    _, ids = packed.render(PROMPT)
    answer = packed.generate(ids, GREEDY, stop=lambda: True)
    assert (answer.text, answer.token_ids, answer.stop_reason) == ("", (), "stopped")


def test_reaching_the_context_ends_the_answer(tiny):
    with open_session(tiny("llama")[1], context=20) as session:
        ids = list(range(3, 18))
        answer = session.generate(ids, GREEDY)
    assert answer.stop_reason == "context"
    assert len(answer.token_ids) == 20 - 15


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers(tiny):
    with open_session(tiny("llama")[1], context=20) as session:
        with pytest.raises(OperatorError) as refused:
            session.generate([5] * 25, GREEDY)
        assert "25 tokens" in refused.value.what
        assert "20" in refused.value.what
        assert "6 tokens" in refused.value.next_step
        assert "above 25" in refused.value.next_step
        assert session.generate([5] * 10, GREEDY).token_ids


def test_a_context_past_the_model_is_refused(tiny):
    with pytest.raises(UsageError, match="made for 128"):
        open_session(tiny("llama")[1], context=4096)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0, seed=5, repetition_penalty=1.2)])
def test_steps_that_run_ahead_change_no_answer(tiny, monkeypatch, sampling):
    """As on a GPU: a step is launched before the token is read, of no interest where that was the last."""
    ids = [5, 9, 17, 30]
    with open_session(tiny("llama")[1], context=40) as session:
        plain = session.generate(ids, sampling)
        last = plain.token_ids[6]
        monkeypatch.setattr("fqconsole.generation.decoding.runs_ahead", lambda device: True)
        ahead = session.generate(ids, sampling)
        assert (ahead.token_ids, ahead.stop_reason) == (plain.token_ids, plain.stop_reason)
        session.end_tokens = frozenset({last})
        cut = session.generate(ids, sampling)
        assert cut.stop_reason == "end"
        assert cut.token_ids == plain.token_ids[: plain.token_ids.index(last) + 1]
        turn = [*ids, *cut.token_ids, 44, 45]
        assert session.generate(turn, GREEDY).reused_tokens == len(ids) + len(cut.token_ids)


def test_the_default_context_is_the_models(packed):
    assert packed.context == 128
    assert packed.max_context == 128


def test_options_that_make_no_sense_are_refused(packed):
    with pytest.raises(UsageError, match="top_p"):
        packed.generate([5, 6], Sampling(top_p=0))


def test_nan_is_named_and_the_session_lives_on(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny("llama")[0], copy)

    def change(tensors):
        tensors["model.embed_tokens.weight"][7] = float("nan")

    edit_tensors(copy, change)
    with open_session(copy) as session:
        with pytest.raises(OperatorError, match=r"not a number \(NaN\) at token 1, first in the embedding"):
            session.generate([5, 7], GREEDY)
        assert session.generate([5, 6], Sampling(temperature=0, max_new_tokens=1)).token_ids


@pytest.mark.parametrize(
    ("tensor", "where"),
    [("model.layers.1.mlp.down_proj.weight", "layer 1"), ("lm_head.weight", "the head")],
)
def test_the_part_that_gives_the_first_nan_is_named(tiny, tmp_path, tensor, where):
    copy = tmp_path / "copy"
    shutil.copytree(tiny("llama")[0], copy)
    edit_tensors(copy, lambda tensors: tensors[tensor].fill_(float("nan")))
    with open_session(copy) as session, pytest.raises(OperatorError, match=f"first in {where}"):
        session.generate([5, 7], GREEDY)


def test_a_nan_that_comes_while_decoding_is_named_too(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny("llama")[0], copy)
    with open_session(copy) as session:
        second = session.generate([5, 6], GREEDY).token_ids[1]
        session._model.get_input_embeddings().weight[second] = float("nan")
        with pytest.raises(OperatorError, match=r"at token 3, first in the embedding"):
            session.generate([5, 6], GREEDY)


def test_keys_and_values_in_int8_change_little(tmp_path):
    save_llama(tmp_path, dtype=torch.float32)
    write_tokenizer(tmp_path)
    ids = [3 + (7 * i) % 300 for i in range(60)]
    with open_session(tmp_path, kv_bits=8) as session:
        found = session.generate(ids, GREEDY)
        logits = session.logits(torch.tensor([[*ids, *found.token_ids]]))[0, len(ids) - 1 : -1]
    for row, token in zip(logits, found.token_ids, strict=True):
        assert row.max() - row[token] < 3e-2 * row.abs().max()
    with open_session(tmp_path) as session:
        whole = session.generate(ids, GREEDY)
    assert found.cache_bytes < whole.cache_bytes / 2  # of float32: a byte and a part of a scale for four


def test_a_width_of_keys_and_values_that_can_not_be_had_is_refused(tiny, tmp_path):
    with pytest.raises(UsageError, match="4 bits"):
        open_session(tiny("llama")[0], kv_bits=4)
    save_architecture("granite", tmp_path, torch.float32)
    write_tokenizer(tmp_path)
    with pytest.raises(UsageError, match="transformers' forward"):
        open_session(tmp_path, kv_bits=8)


def test_a_session_says_whose_forward_runs(packed, tmp_path):
    assert packed.forward == "fqconsole"
    assert "forward" not in packed.matmul_path
    save_architecture("granite", tmp_path, torch.float32)
    write_tokenizer(tmp_path)
    with open_session(tmp_path) as session:
        assert session.forward == "transformers"
        assert session.matmul_path == "16-bit, transformers' forward"
        assert session.generate([5, 6], GREEDY).token_ids


def test_a_long_prompt_in_pieces_gives_the_same_tokens(tmp_path, monkeypatch):
    save_llama(tmp_path, dtype=torch.float32)
    write_tokenizer(tmp_path)
    ids = [3 + (7 * i) % 300 for i in range(60)]
    with open_session(tmp_path, device="cpu") as session:
        whole = session.generate(ids, GREEDY)
        monkeypatch.setattr("fqconsole.generation.decoding.PREFILL_CHUNK", 16)
        again = session.generate(ids, GREEDY)
    assert again.reused_tokens == 0
    assert again.token_ids == whole.token_ids


def test_what_a_session_tells_of_itself(packed, tiny):
    assert packed.precision == "int4"
    assert packed.device == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert packed.vocab_size == 384
    assert packed.matmul_path
    assert packed.load_seconds > 0
    assert not packed.has_chat_template


def test_a_closed_session_says_so(tiny):
    session = open_session(tiny("llama")[1])
    session.close()
    with pytest.raises(OperatorError, match="closed"):
        session.generate([5, 6], GREEDY)


def test_float32_and_float16_models_run(tmp_path):
    for dtype, word in ((torch.float32, "fp32"), (torch.float16, "fp16")):
        folder = tmp_path / word
        save_llama(folder, dtype=dtype)
        write_tokenizer(folder)
        with open_session(folder) as session:
            assert session.precision == word
            assert len(session.generate([5, 6], Sampling(temperature=0, max_new_tokens=3)).token_ids) <= 3
