"""A table of the page; every cell is escaped here."""

from collections.abc import Iterable, Sequence

from store.report.escaping import escape

_NUMBER_HEAD = '<th class="number">'
_NUMBER_CELL = '<td class="number">'
_WORDS = ("better", "worse")  # are coloured where a cell ends with one


def table(head: Sequence[str], lines: Iterable[Sequence[str]], *, numbers_from: int) -> str:
    """Columns from `numbers_from` on are numbers."""
    heads = (
        f"{_NUMBER_HEAD if place >= numbers_from else '<th>'}{escape(cell)}</th>"
        for place, cell in enumerate(head)
    )
    rows = ["<tr>" + "".join(heads) + "</tr>"]
    for line in lines:
        cells = (
            f"{_NUMBER_CELL if place >= numbers_from else '<td>'}{_text(cell)}</td>"
            for place, cell in enumerate(line)
        )
        rows.append("<tr>" + "".join(cells) + "</tr>")
    return '<div class="wide"><table>' + "".join(rows) + "</table></div>"


def _text(cell: str) -> str:
    for word in _WORDS:
        if cell.endswith(f" % {word}"):
            return f'{escape(cell.removesuffix(word))}<span class="{word}">{word}</span>'
    return escape(cell)
