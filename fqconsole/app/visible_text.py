"""Text from outside made safe to draw: what would repaint a terminal or reorder a line is written out."""

import re

# C0 without tab and newline, DEL, C1 (a lone 0x9b starts a terminal command), line separators, the marks that
# reorder text so that it reads as something else, and half characters, which no terminal can be sent.
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
TAB = "    "


def _written_out(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def visible(text: str) -> str:
    """`text` with each control character as `\\x1b` and the like; newlines stay, a tab becomes spaces.

    Works character by character, so a stream may be cut anywhere.
    """
    return DANGEROUS.sub(_written_out, text).replace("\t", TAB)


def one_line(text: str) -> str:
    """`visible`, with newlines written as ⏎: for names, titles and cells of a table."""
    return visible(text).replace("\n", "⏎")


def pictured(text: str) -> str:
    """`text` with one sign for each control character, where places must stay: ␛ for escape, else �."""
    return DANGEROUS.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    number = ord(match[0])
    return chr(0x2400 + number) if number < 0x20 else "␡" if number == 0x7F else "�"
