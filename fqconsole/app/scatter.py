"""Runs as points in a plane, as text: places in cells, the front in braille, labels where there is room."""

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass

from store.axes import Axis, scale_of
from store.points import Point, front

AXIS = 10  # cells of the marks on the left and their line
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille cell, by column, from the top
BEST, OTHER, BASELINE = "●", "○", "◆"


@dataclass(frozen=True)
class Plot:
    """`lines` as wide as asked for; `styles` holds a name for each cell: "", "front", "best", "baseline"."""

    lines: tuple[str, ...]
    styles: tuple[tuple[str, ...], ...]


class _Canvas:
    """Cells of one narrow character each, with a style; what is written keeps its cell, dots take others."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._cells = [[" "] * width for _ in range(height)]
        self._styles = [[""] * width for _ in range(height)]
        self._dots = [[0] * width for _ in range(height)]
        self._taken = [[False] * width for _ in range(height)]

    def dot(self, x: int, y: int) -> None:
        """One of 2×4 dots a cell."""
        column, row = x // 2, y // 4
        if self.free(column, row, 1):
            self._dots[row][column] |= DOTS[x % 2][y % 4]

    def free(self, x: int, y: int, length: int) -> bool:
        if not (0 <= y < self.height and x >= 0 and x + length <= self.width):
            return False
        return not any(self._taken[y][x : x + length])

    def write(self, x: int, y: int, text: str, style: str) -> None:
        for place, letter in enumerate(text, x):
            if 0 <= y < self.height and 0 <= place < self.width:
                self._cells[y][place], self._styles[y][place] = letter, style
                self._taken[y][place] = True

    def plot(self) -> Plot:
        for row in range(self.height):
            for column in range(self.width):
                if self._dots[row][column] and not self._taken[row][column]:
                    self._cells[row][column] = chr(0x2800 + self._dots[row][column])
                    self._styles[row][column] = "front"
        return Plot(tuple("".join(row) for row in self._cells), tuple(tuple(row) for row in self._styles))


def scatter(found: Sequence[Point], x: Axis, y: Axis, width: int, height: int) -> Plot | None:
    """The points that have both numbers; None where there is none of them, or no room."""
    shown = [point for point in found if point.value(x) is not None and point.value(y) is not None]
    columns, rows = width - AXIS, height - 2
    if not shown or columns < 20 or rows < 4:
        return None
    plane = _Plane(x, y, shown, columns, rows)
    canvas = _Canvas(width, height)
    _draw_axes(canvas, plane)
    best = front(shown, x, y)
    names = {point.run_id for point in best}
    # The best are drawn last, over others in the same cell, and get their labels first.
    for point in sorted(shown, key=lambda point: (point.baseline, point.run_id in names)):
        sign, style = look(point, names)
        canvas.write(*plane.cell(point), sign, style)
    for point in sorted(shown, key=lambda point: (not point.baseline, point.run_id not in names)):
        _label(canvas, *plane.cell(point), point, look(point, names)[1])
    for left, right in itertools.pairwise(best):
        _draw_line(canvas, plane.spot(left), plane.spot(right))
    return canvas.plot()


def look(point: Point, best: Container[str]) -> tuple[str, str]:
    """The sign of a point and the name of its style."""
    if point.baseline:
        return BASELINE, "baseline"
    return (BEST, "best") if point.run_id in best else (OTHER, "")


class _Plane:
    """Where points lie on the canvas: `columns` by `rows` cells behind the left axis."""

    def __init__(self, x: Axis, y: Axis, shown: Sequence[Point], columns: int, rows: int) -> None:
        self.x, self.y, self.columns, self.rows = x, y, columns, rows
        self.across = scale_of([p.value(x) or 0.0 for p in shown], x, most_marks=max(2, columns // 12))
        self.up = scale_of([p.value(y) or 0.0 for p in shown], y, most_marks=max(2, rows // 2))

    def spot(self, point: Point) -> tuple[float, float]:
        """Column and row, the row from the top."""
        across, up = self.across.place(point.value(self.x) or 0.0), self.up.place(point.value(self.y) or 0.0)
        return AXIS + across * (self.columns - 1), (1 - up) * (self.rows - 1)

    def cell(self, point: Point) -> tuple[int, int]:
        column, row = self.spot(point)
        return round(column), round(row)


def _draw_axes(canvas: _Canvas, plane: _Plane) -> None:
    rows = plane.rows
    for row in range(rows):
        canvas.write(AXIS - 1, row, "│", "quiet")
    for mark, shown in zip(plane.up.marks, plane.up.texts(plane.y), strict=True):
        row = round((1 - plane.up.place(mark)) * (rows - 1))
        text = shown[: AXIS - 2]
        canvas.write(AXIS - 2 - len(text), row, text, "quiet")
        canvas.write(AXIS - 1, row, "┤", "quiet")
    canvas.write(AXIS - 1, rows, "└" + "─" * plane.columns, "quiet")
    for mark, text in zip(plane.across.marks, plane.across.texts(plane.x), strict=True):
        column = AXIS + round(plane.across.place(mark) * (plane.columns - 1))
        start = min(max(0, column - len(text) // 2), canvas.width - len(text))
        canvas.write(column, rows, "┴", "quiet")
        if canvas.free(max(0, start - 1), rows + 1, len(text) + 1):
            canvas.write(start, rows + 1, text, "quiet")


def _draw_line(canvas: _Canvas, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A dotted line in braille: every second dot, where nothing is written."""
    a, b, c, d = round(start[0] * 2), round(start[1] * 4 + 1), round(end[0] * 2), round(end[1] * 4 + 1)
    steps = max(abs(c - a), abs(d - b), 1)
    for step in range(0, steps + 1, 2):
        canvas.dot(round(a + (c - a) * step / steps), round(b + (d - b) * step / steps))


def _label(canvas: _Canvas, column: int, row: int, point: Point, style: str) -> None:
    """Behind the point, before it, above or below; a point without room for a label stays without."""
    for text in (f"{point.run_id} {point.precision}", point.run_id):
        size = len(text)
        for left, top in (
            (column + 2, row),
            (column - 1 - size, row),
            (column - size // 2, row - 1),
            (column - size // 2, row + 1),
        ):
            if left > AXIS and top < canvas.height - 2 and canvas.free(left - 1, top, size + 1):
                canvas.write(left, top, text, style)
                return


def plot_title(x: Axis, y: Axis) -> str:
    """`perplexity against size`."""
    return f"{y.label} against {x.label}"


def direction(axis: Axis, *, upright: bool) -> str:
    """`size: smaller is better ←`."""
    arrow = {("lower", False): "←", ("higher", False): "→", ("lower", True): "↓", ("higher", True): "↑"}
    word = "lower" if axis.better == "lower" else "higher"
    return f"{axis.label}: {word} is better {arrow[axis.better, upright]}"
