"""Two answers beside each other, wrapped to half the width each."""

import textwrap
from itertools import zip_longest

from fqconsole.cli.escaping import one_line, visible
from fqconsole.cli.table import cells, cut

BAR = " │ "


def side_by_side(left: tuple[str, str], right: tuple[str, str], width: int) -> str:
    """Two (title, text) as two columns in `width` cells."""
    half = max(10, (width - len(BAR)) // 2)
    columns = [
        [cut(one_line(title), half), "─" * half, *_wrapped(text, half)] for title, text in (left, right)
    ]
    return "\n".join(
        (a + " " * (half - cells(a)) + BAR + b).rstrip() for a, b in zip_longest(*columns, fillvalue="")
    )


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for paragraph in visible(text).replace("\t", "    ").split("\n"):
        for line in textwrap.wrap(paragraph, width, drop_whitespace=True) or [""]:
            lines += _split_wide(line, width)
    return lines


def _split_wide(line: str, width: int) -> list[str]:
    """textwrap counts characters; a line of wide ones takes more cells than that."""
    parts, part = [], ""
    for character in line:
        if cells(part + character) > width:
            parts.append(part)
            part = ""
        part += character
    return [*parts, part]
