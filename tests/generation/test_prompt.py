"""What the model sees is what is shown."""

import pytest

from fqconsole.errors import OperatorError, UsageError
from fqconsole.generation.prompt import load_tokenizer, render
from tests.generation.tiny_models import END, START, write_tokenizer


@pytest.fixture
def plain(tmp_path):
    write_tokenizer(tmp_path)
    return load_tokenizer(tmp_path)


@pytest.fixture
def chat(tmp_path):
    write_tokenizer(tmp_path, chat=True)
    return load_tokenizer(tmp_path)


def test_a_plain_prompt_is_itself(plain):
    rendered, ids = render(plain, prompt="Mara gave the lamp.")
    assert rendered == "Mara gave the lamp."
    assert plain.decode(ids) == "Mara gave the lamp."


def test_a_special_token_before_the_text_is_shown(tmp_path):
    write_tokenizer(tmp_path, start=True)
    tokenizer = load_tokenizer(tmp_path)
    rendered, ids = render(tokenizer, prompt="Mara")
    assert rendered == f"{START}Mara"
    assert ids[0] == tokenizer.bos_token_id


def test_messages_go_through_the_template_once(chat):
    rendered, ids = render(chat, messages=[("user", "Where is the key?")])
    assert rendered == f"{START}user: Where is the key?{END}{START}assistant:"
    assert ids.count(chat.convert_tokens_to_ids(START)) == 2


def test_messages_without_a_template_are_refused(plain):
    with pytest.raises(UsageError, match="no chat template"):
        render(plain, messages=[("user", "hello")])


@pytest.mark.parametrize("given", [{}, {"prompt": "a", "messages": [("user", "b")]}])
def test_exactly_one_of_prompt_and_messages(chat, given):
    with pytest.raises(UsageError, match="either a prompt or messages"):
        render(chat, **given)


def test_an_empty_prompt_is_refused(plain):
    with pytest.raises(UsageError, match="empty"):
        render(plain, prompt="")


def test_what_the_template_refuses_is_said(chat):
    chat.chat_template = "{{ raise_exception('only user and assistant roles') }}"
    with pytest.raises(OperatorError, match="only user and assistant roles"):
        render(chat, messages=[("system", "be short")])
