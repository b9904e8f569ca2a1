"""What was said, laid out in rows of a width; a text that grows at its end costs only its open line.

The same text gives the same rows, whether it came at once or in pieces.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.cells import cell_len

from fqconsole.app.markdown_lines import (
    Piece,
    Shape,
    inline,
    is_table_row,
    moved,
    plain_line,
    shape_line,
    shape_table,
)
from fqconsole.app.word_diff import Span
from fqconsole.app.wrapping import first_cells, wrapped_paragraph

Kind = Literal["said", "answer", "quiet", "problem"]
LONGEST_LINE = 4000  # letters looked at together; what goes on is laid out by itself
NARROWEST = 4


@dataclass(frozen=True)
class Passage:
    """A stretch of text by one speaker. The text must be safe to draw; a label is cut to seven cells.

    `marks` are the stretches that another text does not have.
    """

    label: str
    text: str
    kind: Kind = "answer"
    markdown: bool = False
    marks: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Row:
    """One row as it is drawn."""

    label: str
    pieces: tuple[Piece, ...]
    kind: Kind

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def differs(self) -> bool:
        return any("differs" in piece.styles for piece in self.pieces)


class PassageRows:
    """`show` takes all passages and keeps the rows of those that are as they were."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.width = 0
        self.passages: tuple[Passage, ...] = ()
        self._starts: list[int] = []  # the first row of each passage
        self._open = _Open()

    def show(self, passages: Sequence[Passage], width: int) -> bool:
        """False where nothing is to be drawn anew."""
        new, old = tuple(passages), self.passages
        if new == old and width == self.width:
            return False
        if width != self.width:
            old = ()
            self.rows.clear()
            self._starts.clear()
        kept = _common(old, new)
        self.passages, self.width = new, width
        if kept == len(old) - 1 and kept < len(new) and _grown(old[kept], new[kept]):
            self._append(new[kept], new[kept].text[len(old[kept].text) :])
            kept += 1
        elif kept < len(old):
            del self.rows[self._starts[kept] :], self._starts[kept:]
        for passage in new[kept:]:
            self._begin(passage)
        return True

    def _begin(self, passage: Passage) -> None:
        self._starts.append(len(self.rows))
        if self.rows and passage.kind == "said":
            self.rows.append(Row("", (), "quiet"))
        self._open = _Open(row=len(self.rows), first=len(self.rows))
        self._append(passage, passage.text)

    def _append(self, passage: Passage, text: str) -> None:
        """Lay out the open lines again with the new text behind them."""
        was = self._open
        del self.rows[was.row :]
        lines = (was.text + text).split("\n")
        at, fence, hanging = was.at, was.fence, was.hanging
        number = 0
        while number < len(lines):
            table = [] if fence or hanging or not passage.markdown else _table(lines, number)
            end = number + len(table)
            if table:
                self._open = _Open(len(self.rows), was.first, "\n".join(lines[number:]), at)
                for shape in shape_table(table, self.width):
                    self._put(passage, _placed(shape, at))
                if end == len(lines) - 1 and not lines[-1]:  # the next row of the table may follow
                    self._put(passage, Shape(()))
                    return
            else:
                end = number + 1
                self._open = _Open(len(self.rows), was.first, lines[number], at, fence, hanging)
                fence, hanging = self._put_line(passage), None
            at += sum(len(line) + 1 for line in lines[number:end])
            number = end

    def _put_line(self, passage: Passage) -> str:
        """Lay out the open line; of a long one only the end stays open. Returns the fence behind it."""
        line = self._open
        fence = line.fence
        while True:
            text, rest = _cut_long(line.text)
            if not passage.markdown:
                shape = plain_line(text)
            elif line.hanging is not None:
                shape = _continued(text, line.hanging)
            else:
                shape, fence = shape_line(text, line.fence)
            self._put(passage, _placed(shape, line.at))
            if not rest:
                return fence
            line = _Open(len(self.rows), line.first, rest, line.at + len(text), line.fence, shape)
            self._open = line

    def _put(self, passage: Passage, shape: Shape) -> None:
        if cell_len(shape.first) > self.width // 2:  # indented out of sight
            shape = replace(shape, first=shape.first.lstrip(), rest="")
        width = max(NARROWEST, self.width - cell_len(shape.first))
        if shape.fill:
            pieces = [replace(piece, text=piece.text * width) for piece in shape.pieces]
        else:
            pieces = list(_marked(shape.pieces, passage.marks)) if passage.marks else list(shape.pieces)
        for number, line in enumerate(_broken(pieces, width, shape.whole)):
            before = shape.rest if number else shape.first
            head = (Piece(before, ("quiet",)),) if before else ()
            label = passage.label if len(self.rows) == self._open.first else ""
            self.rows.append(Row(label, (*head, *line), passage.kind))


@dataclass(frozen=True)
class _Open:
    """The end of the text, which may still change: its first row, its source and what stands before it."""

    row: int = 0
    first: int = 0  # the first row of the passage
    text: str = ""
    at: int = 0  # where it begins in the passage
    fence: str = ""
    hanging: Shape | None = None  # it goes on from a long line of this shape


def _common(old: tuple[Passage, ...], new: tuple[Passage, ...]) -> int:
    """How many passages are the same."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((place for place, (x, y) in pairs if x is not y and x != y), min(len(old), len(new)))


def _table(lines: Sequence[str], start: int) -> list[str]:
    """The lines of a table from `start` on."""
    end = start
    while end < len(lines) and is_table_row(lines[end]):
        end += 1
    return list(lines[start:end])


def _grown(before: Passage, after: Passage) -> bool:
    """Only text was added at its end."""
    return replace(before, text="") == replace(after, text="") and after.text.startswith(before.text)


def _cut_long(line: str) -> tuple[str, str]:
    """A long line in two, at a blank where there is one."""
    if len(line) <= LONGEST_LINE:
        return line, ""
    blank = line.rfind(" ", 1, LONGEST_LINE)
    cut = blank + 1 if blank > 0 else LONGEST_LINE
    return line[:cut], line[cut:]


def _continued(text: str, before: Shape) -> Shape:
    if before.whole:
        return Shape((Piece(text, ("code",), 0),), before.rest, before.rest, whole=True)
    return Shape(tuple(inline(text, 0)), before.rest, before.rest)


def _placed(shape: Shape, at: int) -> Shape:
    if not at:
        return shape
    pieces = tuple(moved(piece, at) for piece in shape.pieces)
    return Shape(pieces, shape.first, shape.rest, shape.fill, shape.whole)


def _marked(pieces: Sequence[Piece], marks: tuple[Span, ...]) -> Iterator[Piece]:
    """The pieces cut where a mark begins or ends; what is marked has the style "differs"."""
    for piece in pieces:
        if piece.start < 0:
            yield piece
            continue
        at, end = piece.start, piece.start + len(piece.text)
        number = max(0, bisect_right(marks, (at, end)) - 1)
        while at < end:
            while number < len(marks) and marks[number][1] <= at:
                number += 1
            left, right = marks[number] if number < len(marks) else (end, end)
            inside = left <= at
            to = min(end, right if inside else left)
            styles = (*piece.styles, "differs") if inside else piece.styles
            yield Piece(piece.text[at - piece.start : to - piece.start], styles, at)
            at = to


def _broken(pieces: Sequence[Piece], width: int, whole: bool) -> Iterator[tuple[Piece, ...]]:
    """The pieces over as many rows as they need; blanks at the end of a row are dropped."""
    text = "".join(piece.text for piece in pieces)
    if cell_len(text) <= width and not text[-1:].isspace():
        yield tuple(pieces)
        return
    waiting = list(reversed(pieces))
    for line in _cells_broken(text, width) if whole else wrapped_paragraph(text, width):
        left, row = len(line.rstrip()), []
        dropped = len(line) - left
        for size, keep in ((left, True), (dropped, False)):
            wanted = size
            while wanted > 0:
                piece = waiting.pop()
                if len(piece.text) > wanted:
                    waiting.append(Piece(piece.text[wanted:], piece.styles))
                    piece = Piece(piece.text[:wanted], piece.styles)
                wanted -= len(piece.text)
                if keep:
                    row.append(piece)
        yield tuple(row)


def _cells_broken(text: str, width: int) -> Iterator[str]:
    while cell_len(text) > width:
        head = first_cells(text, width)
        yield head
        text = text[len(head) :]
    yield text
