"""Nothing that moves a terminal's cursor passes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from fqconsole.cli.escaping import one_line, safe_json, visible


def _raw(text: str, keep: str = "") -> list[str]:
    return [c for c in text if (ord(c) < 32 or 0x7F <= ord(c) <= 0x9F) and c not in keep]


def test_an_escape_sequence_is_written_out():
    assert visible("a\x1b[31mred\x9b2J") == "a\\x1b[31mred\\x9b2J"


def test_a_mark_that_reverses_text_is_written_out():
    assert visible("safe\u202efdp.exe") == "safe\\u202efdp.exe"


def test_emoji_and_other_scripts_stay():
    assert visible("千问 👩\u200d🔬 é") == "千问 👩\u200d🔬 é"


@given(st.text())
def test_no_control_character_is_left(text):
    assert _raw(visible(text), keep="\t\n") == []
    assert _raw(one_line(text)) == []


@given(st.dictionaries(st.text(), st.text()))
def test_json_keeps_its_value(value):
    document = safe_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(document) == value
    assert _raw(document, keep="\n") == []
