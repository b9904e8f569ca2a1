"""Help as a manual: every command says what it writes, how it ends, and how it is typed."""

import shlex

import pytest

from fqconsole.cli.manual import PAGES
from tests.cli.test_application import EVERY
from tests.test_contracts import _require_known

COMMANDS = {" ".join(words) for words, command in EVERY if words and not getattr(command, "commands", None)}


def test_every_command_has_a_page_and_every_page_a_command():
    assert set(PAGES) == COMMANDS


@pytest.mark.parametrize("words", sorted(PAGES))
def test_every_example_is_of_its_command_and_can_be_typed(words):
    page = PAGES[words]
    assert page.examples and page.writes and page.exits
    for example in page.examples:
        typed = shlex.split(example.rpartition("| ")[2])
        assert typed[0] == "fqconsole"
        plain = [word for word in typed[1:] if not word.startswith("--ascii")]
        assert " ".join(plain).startswith(words) or " ".join(plain) == words.removesuffix(" list"), example
        _require_known(plain[: plain.index(">")] if ">" in plain else plain)


@pytest.mark.parametrize("words", ["quantize", "runs export", "config show"])
def test_help_shows_the_page_and_help_with_a_command_is_the_same(fq, words):
    said = fq(*words.split(), "--help")
    assert said.out == fq("help", *words.split()).out
    assert f"\n    {PAGES[words].examples[0]}\n" in said.out
    assert "Exit codes: 0 done" in " ".join(said.out.split())


def test_help_of_nothing_is_the_help_of_all(fq):
    assert fq("help").out == fq("--help").out
    assert fq("help", "nosuch").code == 2
