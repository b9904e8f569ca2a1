"""The client against a stand-in server: answers, refusals, nonsense, stopping, and where the token goes."""

import socket
import time

import pytest

from fqconsole.endpoints.address import KEY_VARIABLE, parse_address
from fqconsole.endpoints.client import EndpointClient, ServedModel
from fqconsole.endpoints.conversation import converse, has_chat
from fqconsole.endpoints.failure import EndpointError
from fqconsole.generation.options import Sampling

SECRET = "sk-tell-nobody"


def client_of(server, path=""):
    return EndpointClient(parse_address(path or server.url))


def ask(server, prompt=None, *, messages=None, stop=lambda: False, on_text=lambda *_told: None, **sampling):
    return converse(
        client_of(server),
        "words",
        Sampling(**sampling),
        prompt=prompt,
        messages=messages,
        stop=stop,
        on_text=on_text,
    )


def test_models_with_their_context(stand_in):
    assert client_of(stand_in()).models() == [ServedModel("words", 2048)]
    odd = stand_in(models=[{"id": "a"}, {"no": "id"}, "x", {"id": "b", "max_model_len": "long"}])
    assert client_of(odd).models() == [ServedModel("a", None), ServedModel("b", None)]


def test_an_answer_comes_piece_by_piece_with_the_servers_own_count(stand_in):
    told = []
    found = ask(stand_in(), "one two three", on_text=lambda text, count, _rate: told.append((text, count)))
    assert found.text == "ONE TWO THREE "
    assert told == [("ONE ", 1), ("TWO ", 2), ("THREE ", 3)]
    assert (found.prompt_tokens, found.new_tokens, found.stop_reason) == (3, 3, "length")
    assert found.ttft_ms > 0
    assert found.decode_tok_s > 0


def test_a_server_that_counts_nothing_leaves_the_counts_unknown(stand_in):
    found = ask(stand_in(), "no usage")
    assert (found.text, found.prompt_tokens, found.new_tokens) == ("NO USAGE ", None, None)


def test_a_conversation_and_the_sampling_go_over_in_openais_words(stand_in):
    server = stand_in()
    converse(
        client_of(server),
        "words",
        Sampling(temperature=0.5, top_p=0.9, top_k=7, seed=3, max_new_tokens=5, stop=("x",)),
        prompt=None,
        messages=(("system", "brief"), ("user", "hi")),
        stop=lambda: False,
        on_text=lambda *_told: None,
    )
    path, body = server.seen[-1]
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "system", "content": "brief"}, {"role": "user", "content": "hi"}]
    assert {name: body[name] for name in ("temperature", "top_p", "top_k", "seed", "max_tokens", "stop")} == {
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": 3, "max_tokens": 5, "stop": ["x"],
    }  # fmt: skip
    assert "min_p" not in body
    assert "repetition_penalty" not in body


def test_greedy_sends_no_choices(stand_in):
    server = stand_in()
    ask(server, "a", temperature=0.0, top_k=5, min_p=0.1)
    body = server.seen[-1][1]
    assert (body["temperature"], body["top_p"]) == (0.0, 1.0)
    assert not {"top_k", "min_p", "seed"} & set(body)


def test_whether_there_is_a_chat_template(stand_in):
    assert has_chat(client_of(stand_in()), "words")
    assert not has_chat(client_of(stand_in(chat=False)), "words")


@pytest.mark.parametrize("prompt", ["endless", "silence"])
def test_an_answer_is_stopped_also_while_the_server_says_nothing(stand_in, prompt):
    server = stand_in()
    began = time.monotonic()
    found = ask(server, prompt, stop=lambda: time.monotonic() - began > 0.1)
    assert found.stop_reason == "stopped"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("refuse", "refused (400): too long"),
        ("garbage", "sent something that is no answer"),
        ("break off", "ended the answer in the middle"),
        ("fail", "failed: out of memory"),
    ],
)
def test_a_failure_is_one_sentence(stand_in, prompt, said):
    with pytest.raises(EndpointError) as failed:
        ask(stand_in(), prompt)
    assert said in failed.value.what
    assert "\n" not in str(failed.value)


def test_addresses_that_are_no_api_are_told(stand_in):
    server = stand_in()
    host = server.url.removesuffix("/v1")
    for path, said in (
        ("/elsewhere", "elsewhere"),
        ("/web", "no answer"),
        ("/v2", "refused (404): Not Found"),
    ):
        with pytest.raises(EndpointError, match=said.replace("(", r"\(").replace(")", r"\)")):
            client_of(server, host + path).models()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(EndpointError, match="Nothing answers"):
            client_of(server, f"http://127.0.0.1:{free.getsockname()[1]}/v1").models()


def test_the_token_is_sent_from_the_environment_and_told_to_nobody(stand_in, monkeypatch):
    server = stand_in(key=SECRET)
    with pytest.raises(EndpointError, match=KEY_VARIABLE):
        client_of(server).models()
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    assert client_of(server).models()
    for broken in (SECRET + "\nX: y", SECRET + "\x7f", SECRET + "ä"):
        monkeypatch.setenv(KEY_VARIABLE, broken)
        with pytest.raises(EndpointError) as failed:
            client_of(server).models()
        assert SECRET not in str(failed.value)
        assert failed.value.__cause__ is None


def test_health_is_true_only_of_a_server_that_says_so(stand_in):
    server = stand_in(ready_after=1)
    client = client_of(server)
    assert [client.healthy(), client.healthy()] == [False, True]
    server.shutdown()
    server.server_close()
    assert not client.healthy()
