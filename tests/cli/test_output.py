"""Generated text and documents on their way out."""

import io
import json
import sys

from fqconsole.cli.output import Output
from fqconsole.cli.prompt_source import has_chat_template, messages_of
from fqconsole.cli.side_by_side import side_by_side
from fqconsole.cli.table import cells
from fqconsole.errors import UsageError

HOSTILE = "a\x1b]52;c;b3duZWQ=\x07b\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_generated_text_goes_to_a_file_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    Output().stream(HOSTILE)
    assert sys.stdout.getvalue() == HOSTILE


def test_generated_text_can_not_drive_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    Output().stream(HOSTILE)
    assert sys.stdout.getvalue() == "a\\x1b]52;c;b3duZWQ=\\x07b\n"


def test_what_is_not_a_number_is_null(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    Output(json=True).result({"perplexity": float("inf"), "text": HOSTILE})
    assert json.loads(sys.stdout.getvalue()) == {"perplexity": None, "text": HOSTILE}


def test_two_answers_keep_to_their_halves():
    page = side_by_side(("demo int4", "千问" * 30), ("demo 16-bit", "one two three " * 12), 61)
    lines = page.split("\n")
    assert all(cells(line) <= 61 for line in lines)
    assert {cells(line.split("│")[0]) for line in lines} == {30}
    assert "one two three" in page


def test_a_chat_template_is_seen_in_either_place(tmp_path):
    assert not has_chat_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert has_chat_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("not json")
    assert not has_chat_template(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert has_chat_template(tmp_path)


def test_messages_are_read_or_refused_with_the_reason(tmp_path):
    file = tmp_path / "chat.json"
    file.write_text('[{"role": "user", "content": "Hello"}]')
    assert messages_of(file) == (("user", "Hello"),)
    for text, word in (("{", "messages"), ("[]", "no messages"), ('[{"role": "god", "content": ""}]', "god")):
        file.write_text(text)
        try:
            messages_of(file)
        except UsageError as error:
            assert word in str(error)
        else:
            raise AssertionError(text)
