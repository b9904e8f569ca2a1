"""The words and numbers of the Session screen."""

import msgspec
import pytest

from fqconsole.app.answer import Answer
from fqconsole.app.balance_view import lost_phrases, size_phrase, speed_phrase
from fqconsole.app.origin import Origin, Quality
from fqconsole.app.session_view import (
    context_meter,
    kept_line,
    meters,
    milliseconds,
    parting,
    sampling_words,
    speed,
)
from fqconsole.generation.options import Sampling
from fqconsole.jobs.messages import GenerationDone, GenerationStarted, JobDone, TokensGenerated


def answer(*, tokens=(1, 2, 3), done=True, reason="end"):
    made = Answer("Hello", Sampling(seed=1))
    made.run_id = "r0001"
    made.take(GenerationStarted(t=10.0, run_id="r0001", prompt_tokens=5, rendered="<s>Hello", seed=1))
    made.take(TokensGenerated(t=10.038, run_id="r0001", text="you", count=2, tok_s=148.2))
    made.take(TokensGenerated(t=10.05, run_id="r0009", text="not mine", count=2, tok_s=1.0))
    if done:
        made.take(
            GenerationDone(
                t=11.0, run_id="r0001", text="you too", token_ids=tokens, prompt_tokens=5, ttft_ms=36.4,
                prefill_tok_s=4119.7, decode_tok_s=71.34, peak_bytes=int(5.9 * 2**30), stop_reason=reason,
            )
        )  # fmt: skip
        made.take(JobDone(t=11.0, run_id="r0001", status="done"))
    return made


def test_what_is_seen_from_outside_is_marked_until_it_is_measured():
    assert meters(answer(done=False), 1024)[:4] == [
        "TTFT ~38 ms",
        "prefill — tok/s",
        "decode 148 tok/s",
        "2 tokens",
    ]
    assert meters(answer(), 1024) == [
        "TTFT 36 ms", "prefill 4,120 tok/s", "decode 71.3 tok/s", "3 tokens", "ctx ▁▁▁▁▁▁▁▁ 8/1,024",
        "peak 5.9 GiB", "ended by itself", "r0001",
    ]  # fmt: skip


def test_what_an_answer_says_of_an_earlier_turn_and_what_stays_of_its_meters():
    made = answer(reason="length")
    made.result = msgspec.structs.replace(made.result, reused_tokens=4, peak_bytes=None, prefill_tok_s=None)
    assert meters(made, 1024)[4:] == [
        "ctx ▁▁▁▁▁▁▁▁ 8/1,024", "4 tokens kept from before", "cut at max tokens", "r0001",
    ]  # fmt: skip
    assert kept_line(made) == "TTFT 36 ms · 71.3 tok/s · 3 tokens · cut at max tokens · r0001"
    assert kept_line(answer(done=False)) == ""


def test_an_answer_that_has_not_begun_has_no_meters():
    assert meters(Answer("Hello", Sampling()), 1024) == []


def test_a_narrow_pane_leaves_out_the_ordinary():
    assert meters(answer(), 1024, narrow=True) == [
        "TTFT 36 ms", "decode 71.3 tok/s", "3 tokens", "ctx 8/1,024",
    ]  # fmt: skip
    assert meters(answer(reason="length"), 1024, narrow=True)[-1] == "cut at max tokens"


def test_where_two_answers_part():
    assert parting(answer(), answer()) == "both answers are the same"
    assert parting(answer(), answer(tokens=(1, 2, 4))) == "the answers part after 2 tokens"
    assert parting(answer(), answer(tokens=(1,))) == "the answers part after 1 tokens"
    assert parting(answer(), None) == ""


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (Sampling(), "temp 0.7 · top-p 0.95 · max 256 · seed drawn"),
        (Sampling(temperature=0), "greedy · max 256"),
        (
            Sampling(top_p=1, top_k=40, min_p=0.05, repetition_penalty=1.1, seed=7),
            "temp 0.7 · top-k 40 · min-p 0.05 · rep 1.1 · max 256 · seed 7",
        ),
    ],
)
def test_settings_in_words(sampling, words):
    assert sampling_words(sampling) == words


def test_numbers():
    assert [speed(value) for value in (None, 9.44, 99.6, 4120)] == ["—", "9.4", "100", "4,120"]
    assert [milliseconds(value) for value in (None, 8.13, 38.2, 1240)] == ["—", "8.1 ms", "38 ms", "1.24 s"]
    assert context_meter(512, 1024, bar=True) == "ctx ▇▇▇▇▁▁▁▁ 512/1,024"
    assert context_meter(None, 1024, bar=True) == ""
    assert context_meter(922, 1024, bar=False) == "ctx 922/1,024 ! nearly full"


def quality(perplexity):
    return Quality("r0003", perplexity, 2.0, 0.0123, 0.957, 100)


def test_a_perplexity_stands_where_it_belongs_and_luck_is_no_gain():
    distances = ["KL 0.0123", "same top token 95.7 %"]
    assert lost_phrases(quality(2.1)) == (["perplexity 2.000 → 2.100 (+5.0 %)", *distances], [])
    assert lost_phrases(quality(1.995)) == (["perplexity 2.000 → 1.995 (−0.2 %)", *distances], [])
    assert lost_phrases(quality(1.9)) == (distances, ["perplexity 2.000 → 1.900 (−5.0 %)"])


def test_speed_is_a_gain_or_a_loss_only_when_both_are_known():
    assert speed_phrase(98, 172) == ("98.0 → 172 tok/s (+75.5 %)", True)
    assert speed_phrase(172, 98) == ("172 → 98.0 tok/s (−43.0 %)", False)
    assert speed_phrase(None, 98) == ("98.0 tok/s (F2 shows 16-bit)", None)
    assert speed_phrase(None, None) == ("", None)
    assert size_phrase(Origin()) == ""
