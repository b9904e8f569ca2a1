"""Aligned columns of text, measured in terminal cells, so that 千问 and emoji line up too."""

import unicodedata
from collections.abc import Sequence

from fqconsole.cli.escaping import one_line

GAP = "  "


def cells(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    total = 0
    for character in text:
        if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
            continue
        total += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return total


def _padded(text: str, width: int, right: bool) -> str:
    gap = " " * (width - cells(text))
    return gap + text if right else text + gap


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> str:
    """Rows under their heads; `right` names the heads, separated by spaces, of columns of numbers."""
    lines = [[one_line(cell) for cell in row] for row in (head, *rows)]
    numbers = set(right.split())
    widths = [max(cells(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        GAP.join(_padded(cell, widths[at], head[at] in numbers) for at, cell in enumerate(line)).rstrip()
        for line in lines
    )


def cut(text: str, width: int) -> str:
    """At most `width` cells, with an ellipsis where something is missing."""
    if cells(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += cells(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"
