"""Spoilt tokenizer files, and chat templates that reach out, loop or grow for ever: a sentence, or tokens."""

import io
import json
import os
import shutil
import threading

import pytest
from hypothesis import HealthCheck, given, settings

from fqconsole.cli import main
from fqconsole.demo import materialize
from fqconsole.errors import OperatorError, UsageError
from fqconsole.generation import prompt as prompts
from fqconsole.generation import template_bounds
from fqconsole.generation.prompt import load_tokenizer, render
from tests.hostile.mutations import DEEP, spoilt_json
from tests.hostile.test_spoilt_models import told

SOME = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
SOURCE = materialize("demo")
WHOLE = json.loads((SOURCE / "tokenizer.json").read_text())
# The same tokenizer with few words: values that matter are met more often, and it loads faster.
FEW_WORDS = WHOLE | {
    "model": WHOLE["model"] | {"vocab": dict(list(WHOLE["model"]["vocab"].items())[:300]), "merges": []}
}
CONFIG = json.loads((SOURCE / "tokenizer_config.json").read_text()) | {
    "chat_template": "{% for turn in messages %}{{ turn.content }}{% endfor %}",
    "added_tokens_decoder": {"0": {"content": "<|story|>", "special": True}},
}
DOCUMENTS = (b"", b"null", b"[]", b"{}", b"[" * (DEEP * 10), b'{"a":' * (DEEP * 10), b"\xff")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    copy = tmp_path_factory.mktemp("model") / "demo"
    shutil.copytree(SOURCE, copy)
    return copy


def try_out(folder, name, data):
    """Load and use the tokenizer whose file `name` holds `data`; the file is put back."""
    good = {"tokenizer.json": FEW_WORDS, "tokenizer_config.json": CONFIG}
    for each, document in good.items():
        (folder / each).write_bytes(data if each == name else json.dumps(document).encode())
    try:
        tokenizer = load_tokenizer(folder)
        _, ids = render(tokenizer, prompt="Once upon")
        assert all(isinstance(token, int) for token in ids)
        render(tokenizer, messages=[("user", "hi\x1b[2J")])
    except OperatorError as error:
        told(error)


@pytest.mark.slow
@SOME
@given(data=spoilt_json(FEW_WORDS))
def test_a_spoilt_tokenizer_is_refused_or_gives_tokens(folder, data):
    try_out(folder, "tokenizer.json", data)


@pytest.mark.slow
@SOME
@given(data=spoilt_json(CONFIG))
def test_a_spoilt_tokenizer_config_is_refused_or_gives_tokens(folder, data):
    try_out(folder, "tokenizer_config.json", data)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("data", DOCUMENTS)
def test_documents_that_are_no_tokenizer(folder, name, data):
    try_out(folder, name, data)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(SOURCE)


def rendered(tokenizer, template):
    tokenizer.chat_template = template
    return render(tokenizer, messages=[("user", "hi")])[0]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__code__ }}",
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as x %}",
        "{{ messages.append(1) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% if %}",
        "{{ " + "(" * DEEP + "1" + ")" * DEEP + " }}",
        "{{ nothing.more.than }}",
        "{{ 1 / 0 }}",
        "{{ raise_exception('no' * 9999) }}",
        "{{ '\\ud800' }}",
    ],
)
def test_a_template_that_reaches_out_of_its_sandbox_is_refused(tokenizer, template):
    with pytest.raises(OperatorError) as error:
        rendered(tokenizer, template)
    told(error)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10**10 }}",
        f"{{{{ 'x' * {template_bounds.TEXT_AT_MOST + 1} }}}}",
    ],
)
def test_a_template_that_loops_or_grows_for_ever_is_ended(tokenizer, template, monkeypatch):
    monkeypatch.setattr(prompts, "bounded", lambda: template_bounds.bounded(seconds=0.5))
    with pytest.raises(OperatorError, match=r"never comes to an end|writes \d+ characters"):
        rendered(tokenizer, template)
    assert rendered(tokenizer, "{{ messages[0].content }}") == "hi"


def test_in_a_thread_of_somebodys_program_a_template_is_rendered_as_well(tokenizer):
    found = []
    thread = threading.Thread(target=lambda: found.append(rendered(tokenizer, "{{ messages[0].role }}")))
    thread.start()
    thread.join()
    assert found == ["user"]


@pytest.mark.parametrize("texts", [{"prompt": "\udcff"}, {"messages": [("user", "a\ud800")]}])
def test_bytes_that_are_no_text_are_refused(tokenizer, texts):
    tokenizer.chat_template = "{{ messages[0].content }}"
    with pytest.raises(UsageError, match="no text"):
        render(tokenizer, **texts)


@pytest.mark.slow
def test_a_spoilt_tokenizer_is_one_sentence_of_generate(folder, capfd):
    shutil.copy(SOURCE / "tokenizer_config.json", folder)
    (folder / "tokenizer.json").write_text('{"version": "\\u001b[2J"}')
    assert main(["generate", str(folder), "--prompt", "Once", "--quiet"]) == 1
    printed = capfd.readouterr()
    assert "can't be loaded" in printed.err
    assert "Traceback" not in printed.err
    assert "\x1b" not in printed.err + printed.out


@pytest.mark.parametrize("given", [b"Once \xff", b"\xed\xa0\x80"])
@pytest.mark.parametrize("piped", [False, True])
def test_a_prompt_of_bytes_that_are_no_text_is_one_sentence_of_generate(given, piped, capfd, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    assert main(["generate", "demo", "--prompt", "-" if piped else os.fsdecode(given), "--quiet"]) == 2
    assert "bytes that are no text" in capfd.readouterr().err
