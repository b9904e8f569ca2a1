"""Text broken into lines of a width in cells: words stay whole where they fit, wide characters count two."""

import re
from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size

_WORDS = re.compile(r"\s+|\S+")
_OTHER_BLANKS = re.compile(r"[^\S ]")
GAP = "   "


def wrapped_paragraph(text: str, width: int) -> list[str]:
    """The lines of one paragraph; joined they are `text` again, blanks at a line's end included.

    Each line begins afresh, so a stream may wrap its last line with the new text and get the same lines.
    """
    width = max(2, width)  # a wide character needs two cells
    plain = _wrapped_plain(text, width)
    return _wrapped_words(text, width) if plain is None else plain


def _wrapped_plain(text: str, width: int) -> list[str] | None:
    """The same, looking only at the ends of lines; None where a letter is not one cell or a word too long."""
    if not text.isascii() or text[:1].isspace() or _OTHER_BLANKS.search(text):
        return None
    lines: list[str] = []
    start, end = 0, len(text)
    while end - start > width:
        cut = start + width
        if text[cut] != " ":
            cut = text.rfind(" ", start, cut) + 1
            if not cut:
                return None
        while cut < end and text[cut] == " ":
            cut += 1
        lines.append(text[start:cut])
        start = cut
    if start < end or not lines:
        lines.append(text[start:])
    return lines


def _wrapped_words(text: str, width: int) -> list[str]:
    """Word by word, each measured in cells."""
    lines: list[str] = []
    line, used = "", 0
    for match in _WORDS.finditer(text):
        word, size = match[0], cell_len(match[0])
        if word.isspace():
            line, used = line + word, used + size
            continue
        if used + size > width and line:
            lines.append(line)
            line, used = "", 0
        while size > width:
            head = first_cells(word, width)
            lines.append(head)
            word = word[len(head) :]
            size = cell_len(word)
        line, used = line + word, used + size
    return [*lines, line]


def wrapped_text(text: str, width: int) -> list[str]:
    """The lines of a text of several paragraphs, blanks at their ends dropped."""
    return [line.rstrip() for part in text.split("\n") for line in wrapped_paragraph(part, width)]


def first_cells(text: str, width: int) -> str:
    """As many characters from the front as fit in `width` cells, at least one."""
    used = 0
    for index, character in enumerate(text):
        used += cell_len(character)
        if used > width and index:
            return text[:index]
    return text


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis where something was left out."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def flowed(parts: Iterable[str], width: int) -> list[str]:
    """Whole phrases set side by side, as many on a line as fit; empty ones are left out."""
    lines: list[str] = []
    for part in parts:
        if not part:
            continue
        if lines and cell_len(lines[-1]) + len(GAP) + cell_len(part) <= width:
            lines[-1] += GAP + part
        else:
            lines.append(part)
    return lines
