"""Bodies become questions; what can't be honoured is refused by name, and nothing raises anything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.api.question import chat_question, completion_question
from fqconsole.api.refusal import Refusal


def chat(**fields):
    """A chat question of these fields."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return chat_question(json.dumps(body).encode(), context=512)


def refused(ask, **fields):
    """The refusal of these fields."""
    with pytest.raises(Refusal) as refusal:
        ask(**fields)
    return refusal.value


def completion(**fields):
    """A completion question of these fields."""
    return completion_question(json.dumps({"model": "m", "prompt": "hi", **fields}).encode())


def test_the_defaults_are_those_of_openai():
    assert (chat().sampling.temperature, chat().sampling.top_p, chat().sampling.max_new_tokens) == (
        1.0,
        1.0,
        512,
    )
    assert completion().sampling.max_new_tokens == 16
    assert not completion().chat
    assert not chat().stream


def test_sampling_is_taken_over():
    sampling = chat(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        repetition_penalty=1.1,
        seed=7,
        stop="x",
        max_tokens=3,
    ).sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.9, 40, 0.1)
    assert (sampling.repetition_penalty, sampling.seed, sampling.stop) == (1.1, 7, ("x",))
    assert sampling.max_new_tokens == 3
    assert chat(max_tokens=3, max_completion_tokens=5).sampling.max_new_tokens == 5


def test_content_in_parts_and_a_developer_are_understood():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "brief"}, {"role": "user", "content": parts}]
    assert chat(messages=messages).messages == (("system", "brief"), ("user", "ab"))


def test_what_is_null_or_neutral_or_unknown_is_no_reason_to_refuse():
    assert chat(
        n=1,
        logprobs=False,
        tools=None,
        response_format={"type": "text"},
        user="me",
        frequency_penalty=0.0,
        top_k=-1,
    )
    assert completion(logprobs=None, echo=False, best_of=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("tools", [{"type": "function"}]),
        ("response_format", {"type": "json_object"}),
        ("presence_penalty", 0.5),
        ("temperature", "hot"),
        ("temperature", -1),
        ("top_p", 0),
        ("stop", [""]),
        ("max_tokens", -2),
        ("messages", []),
        ("messages", [{"role": "tool", "content": "x"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url"}]}]),
        ("messages", [{"role": "user"}]),
    ],
)
def test_what_can_not_be_honoured_is_refused(field, value):
    refusal = refused(chat, **{field: value})
    assert refusal.status == 400
    assert refusal.param in (field, None, "max_new_tokens")
    assert refusal.document["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("prompt", ["", [], ["a", "b"], [1, 2], None, 5])
def test_one_prompt_of_text_at_a_time(prompt):
    assert refused(completion, prompt=prompt).param == "prompt"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b'{"model": 5}', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_question_is_refused(body):
    with pytest.raises(Refusal):
        completion_question(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["model", "messages", "stop", "n", "seed", "stream_options", "max_tokens", "tools", "top_k"]
)


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_json_is_a_question_or_a_refusal(fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    try:
        chat_question(json.dumps(body).encode(), context=512)
    except Refusal as refusal:
        assert refusal.status == 400
