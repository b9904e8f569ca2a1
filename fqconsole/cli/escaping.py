"""What must not reach a terminal as it is: names and generated text may hold codes that repaint it."""

import re

# C0 without tab and newline, DEL, C1 (a lone 0x9b starts a terminal command), line separators, and the marks
# that reorder text so that it reads as something else.
_DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _shown(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def visible(text: str) -> str:
    """`text` with each control character written as `\\x1b` and the like; tab and newline stay."""
    return _DANGEROUS.sub(_shown, text)


def one_line(text: str) -> str:
    """`visible`, with tab and newline written out too: for names and for cells of a table."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def safe_json(document: str) -> str:
    """The same JSON value with each control character of its strings written as an escape."""
    return _DANGEROUS.sub(lambda match: f"\\u{ord(match[0]):04x}", document)
