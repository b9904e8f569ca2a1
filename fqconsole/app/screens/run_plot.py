"""Runs as points: size against quality against speed, the axes of your choice, the best ones joined."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from fqconsole.app import scatter
from fqconsole.app.run_rows import short_model
from fqconsole.app.screens.dialogs import Dialog
from fqconsole.app.visible_text import one_line
from fqconsole.app.widgets.record_table import Cell, ColumnSpec, RecordTable
from store.axes import AXES, Axis
from store.points import Point, front

STYLES = {"quiet": "$foreground 60%", "front": "$foreground 60%", "best": "bold $text-success",
          "baseline": "bold $text-primary"}  # fmt: skip
COLUMNS = (
    ColumnSpec("run", " run", 8),
    ColumnSpec("model", " model", 12, flexible=True),
    ColumnSpec("precision", " bits / group", 16),
    ColumnSpec("bytes", "size", 11, right=True),
    ColumnSpec("perplexity", "ppl", 7, right=True),
    ColumnSpec("speed", "tok/s", 7, right=True),
)
MOST_ROWS = 6  # of the table at 24 lines; the plot has the rest
LEGEND = (
    f"{scatter.BEST} none is better in both   {scatter.OTHER} another is better in both   "
    f"{scatter.BASELINE} baseline"
)


class RunPlotDialog(Dialog):
    """`points` are shown with two of their numbers; x and y choose others."""

    HELP: ClassVar[str] = "x and y change the axes."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,p,q", "close", "close", show=False),
        Binding("x", "turn_x(1)", "next across", show=False),
        Binding("y", "turn_y(1)", "next up", show=False),
    ]

    def __init__(self, points: Sequence[Point], title: str) -> None:
        super().__init__()
        self._points = tuple(sorted(points, key=lambda point: point.bytes or 0))
        self._title = title
        self._x, self._y = AXES[0], AXES[1]

    def compose(self) -> ComposeResult:
        with Vertical(id="run-plot") as box:
            box.border_subtitle = "x y other axes · esc close"
            yield Static(id="run-plot-words", markup=False)
            yield Static(id="run-plot-area", markup=False)
            yield Static(LEGEND, id="run-plot-legend", classes="quiet", markup=False)
            yield RecordTable(COLUMNS, id="run-plot-table")

    def on_mount(self) -> None:
        rows = [
            (
                point.run_id,
                [
                    f" {point.run_id}",
                    f" {one_line(short_model(point.model))}",
                    f" {point.precision}",
                    *(axis.show(point.value(axis)) for axis in AXES[:3]),
                ],
            )
            for point in self._points
        ]
        table = self.query_one(RecordTable)
        table.show_records(rows)
        table.styles.height = min(len(rows), max(MOST_ROWS, self.size.height // 4)) + 1
        table.focus()

    def on_resize(self, _event: Resize) -> None:
        self.call_after_refresh(self._draw)

    def action_turn_x(self, step: int) -> None:
        self._x = self._next(self._x, self._y, step)
        self._draw()

    def action_turn_y(self, step: int) -> None:
        self._y = self._next(self._y, self._x, step)
        self._draw()

    def _next(self, axis: Axis, other: Axis, step: int) -> Axis:
        """The next axis that is not the other one and that a point here has a number for."""
        place = AXES.index(axis)
        for turn in range(1, len(AXES) + 1):
            candidate = AXES[(place + step * turn) % len(AXES)]
            if candidate != other and any(point.value(candidate) is not None for point in self._points):
                return candidate
        return axis

    def _draw(self) -> None:
        area = self.query_one("#run-plot-area", Static)
        self.query_one("#run-plot").border_title = Content(
            f"{self._title} · {self._y.label} against {self._x.label}"
        )
        both = [p for p in self._points if p.value(self._x) is not None and p.value(self._y) is not None]
        words = f"{scatter.direction(self._y, upright=True)}   {scatter.direction(self._x, upright=False)}"
        if len(both) < len(self._points):
            words += f"   {len(self._points) - len(both)} not measured"
        self.query_one("#run-plot-words", Static).update(words)
        plot = scatter.scatter(self._points, self._x, self._y, area.size.width, area.size.height)
        area.set_class(plot is None, "-words")
        area.update(_empty(self._x, self._y) if plot is None else _content(plot))
        best = {point.run_id for point in front(self._points, self._x, self._y)}
        table = self.query_one(RecordTable)
        for point in self._points:
            shown = point in both
            sign, style = scatter.look(point, best) if shown else (" ", "")
            table.change(point.run_id, "run", Cell(f"{sign}{point.run_id}", "ok" if style == "best" else ""))


def _empty(x: Axis, y: Axis) -> Content:
    return Content.styled(
        f"No run here has both {x.label} and {y.label}. x and y show other numbers. On Quantize v measures "
        "the quality of a checkpoint; an answer in the Session measures its speed.",
        "$foreground 60%",
    )


def _content(plot: scatter.Plot) -> Content:
    """The lines of a plot with the colours of the theme."""
    lines = []
    for line, styles in zip(plot.lines, plot.styles, strict=True):
        parts: list[tuple[str, str]] = []
        for letter, style in zip(line, styles, strict=True):
            name = STYLES.get(style, "")
            if parts and parts[-1][1] == name:
                parts[-1] = (parts[-1][0] + letter, name)
            else:
                parts.append((letter, name))
        lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)
