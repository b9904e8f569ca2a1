"""The heat map of a model, filling while it is quantized; arrows and the mouse look at single matrices."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from fqconsole.app import heat_map
from fqconsole.app.heat_map import Layout, MapCell, View

COLOURS = ("cool", "mild", "warm", "hot", "finer")


class MatrixMap(ScrollView, can_focus=True, inherit_bindings=False):
    """Draws as many layers as there is room for; scrolls where they are more."""

    HELP: ClassVar[str] = (
        "A cell a matrix: rows are layers, columns its matrices. The digit is the bits, the letter the "
        "group: c channel, h 128, s 64, t 32, x 16, a capital where the matrix is done. Arrows look at one "
        "matrix, w turns to the errors as digits, 0 least to 9 largest."
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "matrix-map--head",
        "matrix-map--waiting",
        "matrix-map--cursor",
        *(f"matrix-map--{word}" for word in COLOURS),
        *(f"matrix-map--{word}-planned" for word in COLOURS),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1, 0)", "down", show=False),
        Binding("up,k", "move(-1, 0)", "up", show=False),
        Binding("right,l", "move(0, 1)", "right", show=False),
        Binding("left,h", "move(0, -1)", "left", show=False),
    ]

    class Picked(Message):
        """The operator looks at this matrix."""

        def __init__(self, cell: MapCell) -> None:
            super().__init__()
            self.cell = cell

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._cells: tuple[MapCell, ...] = ()
        self._at: dict[tuple[int, str], MapCell] = {}
        self._view: View = "bits"
        self._range = (0.0, 0.0)
        self._layout: Layout | None = None
        self._cursor: tuple[int, int] | None = None  # index of the layer, index of the kind

    @property
    def picked(self) -> MapCell | None:
        """The matrix under the cursor."""
        found = self._layout
        if found is None or self._cursor is None or self._cursor[0] >= len(found.layers):
            return None
        return self._at.get((found.layers[self._cursor[0]], found.kinds[self._cursor[1]]))

    def show(self, cells: Sequence[MapCell], view: View) -> None:
        if tuple(cells) == self._cells and view == self._view:
            return
        self._cells, self._view = tuple(cells), view
        self._at = {(cell.layer, cell.kind): cell for cell in cells}
        self._range = heat_map.error_range(self._cells)
        self._lay_out()
        self._follow()
        self.refresh()

    def on_resize(self) -> None:
        self._lay_out()
        self.call_after_refresh(self._follow)
        self.refresh()

    def _lay_out(self) -> None:
        size = self.scrollable_content_region
        if not self._cells or size.width < 1:
            self._layout = None
            return
        self._layout = heat_map.layout(self._cells, size.width, size.height)
        self.virtual_size = Size(0, self._layout.lines + 1)

    def _follow(self) -> None:
        """Keep the layer that is being filled in view, unless the operator looks at a matrix."""
        done = [cell.layer for cell in self._cells if cell.done]
        if done and self._layout is not None and not (self._cursor and self.has_focus):
            self._bring_into_view(self._layout.layers.index(max(done)) % self._layout.lines)

    def _bring_into_view(self, line: int) -> None:
        top, page = self.scroll_offset.y, max(1, self.scrollable_content_region.height - 1)
        if not top <= line < top + page:
            self.scroll_to(y=max(0, line - page // 2), animate=False, force=True)

    # the cursor

    def action_move(self, down: int, right: int) -> None:
        if self._layout is None:
            return
        row, column = self._cursor or (0, 0)
        if self._cursor is not None:
            row = min(max(row + down, 0), len(self._layout.layers) - 1)
            column = min(max(column + right, 0), len(self._layout.kinds) - 1)
        self._look_at(row, column)

    def _look_at(self, row: int, column: int) -> None:
        assert self._layout is not None  # noqa: S101 - callers looked
        self._cursor = (row, column)
        self._bring_into_view(row % self._layout.lines)
        self.refresh()
        if self.picked is not None:
            self.post_message(self.Picked(self.picked))

    def on_click(self, event: Click) -> None:
        if self._layout is not None and event.y >= 1:
            found = self._layout.row_of(event.x, event.y - 1 + self.scroll_offset.y)
            if found is not None:
                self._look_at(*found)

    def on_blur(self) -> None:
        self.refresh()

    # drawing

    def render_line(self, y: int) -> Strip:
        width, found, plain = self.scrollable_content_region.width, self._layout, self.rich_style
        if found is None:
            return Strip.blank(width, plain)
        row = y - 1 + self.scroll_offset.y
        if y and row >= found.lines:
            return Strip.blank(width, plain)
        segments: list[Segment] = []
        for block in range(found.blocks):
            index = block * found.lines + row
            if block:
                segments.append(Segment(" " * heat_map.GAP, plain))
            if not y:
                words = " " * found.label + "".join(heat_map.heads(found.kinds, found.cell))
                segments.append(Segment(words, self._style("head")))
            elif index < len(found.layers):
                segments += self._row(found, index, plain)
        return Strip(segments).adjust_cell_length(width, plain)

    def _row(self, found: Layout, index: int, plain: Style) -> list[Segment]:
        layer = found.layers[index]
        segments = [Segment(f"{layer:>{found.label - 1}} ", self._style("head"))]
        gap = Segment(" " * (found.cell - heat_map.SIGNS), plain)
        for column, kind in enumerate(found.kinds):
            cell = self._at.get((layer, kind))
            style = plain
            if self._cursor == (index, column) and self.has_focus:
                style = self._style("cursor")
            elif cell is not None:
                style = self._style(heat_map.colour(cell, self._view, *self._range))
            segments.append(Segment(heat_map.glyph(cell, self._view, *self._range), style))
            if gap.text:
                segments.append(gap)
        return segments

    def _style(self, word: str) -> Style:
        return self.get_component_rich_style(f"matrix-map--{word}")
