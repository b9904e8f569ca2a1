"""Markdown as it looks, line by line: what a line of source becomes, with where each letter came from.

Line by line, so that an answer can be drawn while it is written: a finished line never changes any more,
save for the widths of a table. Marks that are not closed on their line are shown as they are.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})\s*([^`]*)$")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s+|$)")
_RULE = re.compile(r" {0,3}([-*_])(?:\s*\1){2,}\s*$")
_QUOTE = re.compile(r" {0,3}(?:> ?)+")
_ITEM = re.compile(r"(\s*)([-*+]|\d{1,9}[.)])(\s+)")
_DELIMITER = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_CELL = re.compile(r"(?:[^|\\]|\\.?)+")
_INLINE = re.compile(
    r"(?P<ticks>`+)(?P<code>.+?)(?P=ticks)(?!`)"
    r"|\*\*(?P<strong>\S|\S.*?\S)\*\*(?!\*)"
    r"|(?<!\w)__(?P<strong2>\S|\S.*?\S)__(?!\w)"
    r"|~~(?P<strike>\S|\S.*?\S)~~"
    r"|(?<![\w*])\*(?P<emphasis>[^\s*]|[^\s*][^*]*[^\s*])\*(?![\w*])"
    r"|(?<![\w_])_(?P<emphasis2>[^\s_]|[^\s_][^_]*[^\s_])_(?![\w_])"
    r"|\[(?P<link>[^\]]+)\]\((?P<url>[^)\s]+)\)"
    r"|\\(?P<escaped>[\\`*_{}\[\]()#+\-.!~|>])"
)
_STYLED = {"strong": "strong", "strong2": "strong", "strike": "strike", "emphasis": "emphasis",
           "emphasis2": "emphasis"}  # fmt: skip
INDENT = 2  # cells of one level of a list, and before code
COLUMN_GAP = "  "


@dataclass(frozen=True)
class Piece:
    """A stretch of one look. `start` is the place of its first letter in the source, -1: it has none."""

    text: str
    styles: tuple[str, ...] = ()  # strong, emphasis, strike, code, heading, quiet, link
    start: int = -1


@dataclass(frozen=True)
class Shape:
    """One line of source: its pieces, and what stands before its first and its further rows."""

    pieces: tuple[Piece, ...]
    first: str = ""
    rest: str = ""
    fill: bool = False  # the one piece is repeated over the whole width
    whole: bool = False  # never broken at blanks: code keeps its columns


def shape_line(line: str, fence: str = "") -> tuple[Shape, str]:
    """The shape of a line, and the fence that is open after it; `fence` is the one open before it."""
    mark = _FENCE.match(line)
    if fence:
        if mark and mark[1].startswith(fence) and not mark[2].strip():
            return _quiet(line), ""
        return _code(line), fence
    if mark:
        return _quiet(line), mark[1]
    if _RULE.match(line):
        return Shape((Piece("─", ("quiet",)),), fill=True), ""
    heading = _HEADING.match(line)
    if heading:
        text = line[heading.end() :].rstrip().rstrip("#").rstrip()
        return Shape(tuple(inline(text, heading.end(), ("heading",)))), ""
    quote = _QUOTE.match(line)
    if quote:
        before = "│ " * quote[0].count(">")
        return Shape(tuple(inline(line[quote.end() :], quote.end())), before, before), ""
    item = _ITEM.match(line)
    if item:
        sign = "•" if item[2] in "-*+" else item[2]
        before = " " * len(item[1]) + sign + " "
        return Shape(tuple(inline(line[item.end() :], item.end())), before, " " * cell_len(before)), ""
    return Shape(tuple(inline(line, 0))), ""


def plain_line(line: str) -> Shape:
    """A line as it is written."""
    return Shape((Piece(line, (), 0),) if line else ())


def _quiet(line: str) -> Shape:
    return Shape((Piece(line, ("quiet",), 0),))


def _code(line: str) -> Shape:
    before = " " * INDENT
    return Shape((Piece(line, ("code",), 0),) if line else (), before, before, whole=True)


def inline(text: str, start: int, styles: tuple[str, ...] = ()) -> Iterator[Piece]:
    """The pieces of a stretch without line breaks; `start` is its place in the source."""
    at = 0
    for match in _INLINE.finditer(text):
        if match.start() > at:
            yield Piece(text[at : match.start()], styles, start + at)
        at = match.end()
        name = match.lastgroup or ""
        if name == "code":
            yield Piece(match["code"], (*styles, "code"), start + match.start("code"))
        elif name == "url":
            yield from inline(match["link"], start + match.start("link"), (*styles, "link"))
            yield Piece(" (", (*styles, "quiet"))
            yield Piece(match["url"], (*styles, "quiet"), start + match.start("url"))
            yield Piece(")", (*styles, "quiet"))
        elif name == "escaped":
            yield Piece(match["escaped"], styles, start + match.start("escaped"))
        else:
            yield from inline(match[name], start + match.start(name), (*styles, _STYLED[name]))
    if at < len(text):
        yield Piece(text[at:], styles, start + at)


def is_table_row(line: str) -> bool:
    """Whether a line may belong to a table."""
    return line.lstrip().startswith("|")


def shape_table(lines: Sequence[str], width: int) -> list[Shape]:
    """The rows of a table with their columns set under each other; as written where it is none, or too wide.

    Places in the source count from the beginning of the first line, line breaks included.
    """
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    plain = [_moved(plain_line(line), start) for line, start in zip(lines, starts, strict=False)]
    if len(lines) < 2 or not _DELIMITER.match(lines[1]):
        return plain
    rows = [
        _cells(line, start, ("heading",) if number == 0 else ())
        for number, (line, start) in enumerate(zip(lines, starts, strict=False))
    ]
    many = max(len(row) for row in rows)
    widths = [
        max((_width(row[column]) for n, row in enumerate(rows) if n != 1 and column < len(row)), default=0)
        for column in range(many)
    ]
    if sum(widths) + len(COLUMN_GAP) * (many - 1) > width:
        return plain
    shapes = [Shape(tuple(_row(row, widths))) for row in rows]
    shapes[1] = Shape((Piece(COLUMN_GAP.join("─" * size for size in widths), ("quiet",)),))
    return shapes


def _cells(line: str, start: int, styles: tuple[str, ...]) -> list[list[Piece]]:
    return [
        list(inline(match[0].strip(), start + match.start() + _blanks(match[0]), styles))
        for match in _CELL.finditer(line.rstrip())
        if match[0].strip() or match.start() > _blanks(line)
    ]


def _blanks(text: str) -> int:
    return len(text) - len(text.lstrip())


def _width(pieces: Sequence[Piece]) -> int:
    return sum(cell_len(piece.text) for piece in pieces)


def _row(cells: Sequence[Sequence[Piece]], widths: Sequence[int]) -> Iterator[Piece]:
    for column, (pieces, width) in enumerate(zip(cells, widths, strict=False)):
        yield from pieces
        if column < len(cells) - 1:
            yield Piece(" " * (width - _width(pieces)) + COLUMN_GAP)


def _moved(shape: Shape, by: int) -> Shape:
    """The same shape further on in the source."""
    return replace(shape, pieces=tuple(moved(piece, by) for piece in shape.pieces))


def moved(piece: Piece, by: int) -> Piece:
    """The same piece further on in the source."""
    return Piece(piece.text, piece.styles, piece.start + by) if piece.start >= 0 else piece
