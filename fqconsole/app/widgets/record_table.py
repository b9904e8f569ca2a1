"""A table of records with the console's keys: j/k, g/G, a row cursor; Enter stays with the screen.

Only the lines that are seen are drawn: a table of five hundred runs opens as fast as one of five, and a list
that changes ten times a second leaves the event loop free. (Textual's DataTable measures every cell.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

MARK = "▌ "
NO_MARK = "  "
CUT = "…"


@dataclass(frozen=True)
class ColumnSpec:
    """`width` in cells, the gap before it included; one column may take what is left of the line."""

    key: str
    label: str
    width: int
    right: bool = False
    flexible: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell with a style of its own, "ok", "tight", "bad" or "quiet"; a plain string has none."""

    text: str
    style: str = ""


Value = str | Cell


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells: padded, or cut with a sign that it is."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(set_cell_size(text, max(0, width - 1)) + CUT, width)
    return " " * (width - length) + text if right else text + " " * (width - length)


class RecordTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Row cursor with a mark of its own, so that it is seen without colour.

    The screen binds Enter itself, so that the key can be remapped and stands in the help; a click on the row
    under the cursor posts `Opened`.
    """

    HELP: ClassVar[str] = "j and k or the arrow keys move, g and G jump to the first and the last row."
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "record-table--header",
        "record-table--cursor",
        "record-table--ok",
        "record-table--tight",
        "record-table--bad",
        "record-table--quiet",
    }

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", show=False),
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("g,home", "first", "first", show=False),
        Binding("G,end", "last", "last", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
    ]

    class Highlighted(Message):
        """Another record is under the cursor; `key` None: the table is empty."""

        def __init__(self, table: "RecordTable", key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> "RecordTable":
            return self.table

    class Opened(Message):
        """The record under the cursor was clicked."""

        def __init__(self, table: "RecordTable", key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> "RecordTable":
            return self.table

    def __init__(self, columns: Sequence[ColumnSpec], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._specs = tuple(columns)
        self._records: list[tuple[str, list[Value]]] = []
        self._places: dict[str, int] = {}
        self._cursor = 0

    # what the table holds

    @property
    def row_count(self) -> int:
        return len(self._records)

    @property
    def cursor_row(self) -> int:
        return self._cursor

    @property
    def current(self) -> str | None:
        """The key of the record under the cursor; None when the table is empty."""
        return self._records[self._cursor][0] if self._records else None

    def texts(self, row: int) -> list[str]:
        """The values of a row as text, in the order of the columns."""
        return [value.text if isinstance(value, Cell) else value for value in self._records[row][1]]

    def text_of(self, key: str, column: str) -> str:
        """One value as text. Raises KeyError for a record or a column that is not there."""
        columns = [spec.key for spec in self._specs]
        if column not in columns:
            raise KeyError(column)
        return self.texts(self._places[key])[columns.index(column)]

    def show_records(self, records: Sequence[tuple[str, Sequence[Value]]]) -> None:
        """Replace all records (key, values in the order of the columns); keys are unique.

        The cursor stays on its record, or at the top when it was there: in a live list the top is the news.
        """
        fresh = [(key, list(values)) for key, values in records]
        if fresh == self._records:
            return
        kept = self.current
        self._records = fresh
        self._places = {key: row for row, (key, _values) in enumerate(fresh)}
        if self._cursor and kept in self._places:
            self._cursor = self._places[kept]
        self._cursor = min(self._cursor, max(0, len(fresh) - 1))
        self.virtual_size = Size(0, len(fresh) + 1)
        self._keep_cursor_in_view()
        self.refresh()
        if self.current != kept:
            self.post_message(self.Highlighted(self, self.current))

    def show_columns(self, columns: Sequence[ColumnSpec]) -> None:
        """Take other columns; the records must be shown again, with values for these."""
        self._specs = tuple(columns)
        self._records = []
        self._places = {}
        self.refresh()

    def change(self, key: str, column: str, value: Value) -> None:
        """Change one value; a record that is not shown (any more) is ignored."""
        row = self._places.get(key)
        if row is None:
            return
        index = [spec.key for spec in self._specs].index(column)
        if self._records[row][1][index] != value:
            self._records[row][1][index] = value
            self.refresh()

    # the cursor

    def move_to(self, row: int) -> None:
        """Put the cursor on a row, or on the nearest one that exists."""
        row = min(max(row, 0), max(0, len(self._records) - 1))
        if row == self._cursor:
            return
        self._cursor = row
        self._keep_cursor_in_view()
        self.refresh()
        self.post_message(self.Highlighted(self, self.current))

    def move_to_key(self, key: str) -> None:
        """Put the cursor on a record; one that is not there changes nothing."""
        if key in self._places:
            self.move_to(self._places[key])

    @property
    def _page(self) -> int:
        """Records that are seen at once: the first line is the header."""
        return max(1, self.scrollable_content_region.height - 1)

    def _keep_cursor_in_view(self) -> None:
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, force=True)
        elif self._cursor >= top + self._page:
            self.scroll_to(y=self._cursor - self._page + 1, animate=False, force=True)

    def action_move(self, step: int) -> None:
        self.move_to(self._cursor + step)

    def action_page(self, step: int) -> None:
        self.move_to(self._cursor + step * self._page)

    def action_first(self) -> None:
        self.move_to(0)

    def action_last(self) -> None:
        self.move_to(len(self._records) - 1)

    def on_resize(self) -> None:
        self._keep_cursor_in_view()
        self.refresh()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_click(self, event: Click) -> None:
        row = event.y - 1 + self.scroll_offset.y
        if event.y < 1 or row >= len(self._records):
            return
        if row == self._cursor and self.current is not None:
            self.post_message(self.Opened(self, self.current))
        self.move_to(row)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.action_move(1)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.action_move(-1)

    # drawing

    def _widths(self, room: int) -> list[int]:
        """The width of every column when the line has `room` cells behind the mark."""
        fixed = sum(spec.width for spec in self._specs if not spec.flexible)
        return [max(spec.width, room - fixed) if spec.flexible else spec.width for spec in self._specs]

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        widths = self._widths(width - len(MARK))
        row = y - 1 + self.scroll_offset.y
        if y == 0:
            style = self.get_component_rich_style("record-table--header")
            labels = [
                fitted(spec.label, cells, right=spec.right)
                for spec, cells in zip(self._specs, widths, strict=True)
            ]
            return self._strip([Segment(NO_MARK + "".join(labels), style)], width, style)
        if not 0 <= row < len(self._records):
            return Strip.blank(width, self.rich_style)
        here = row == self._cursor
        style = self.get_component_rich_style("record-table--cursor") if here else self.rich_style
        segments = [Segment(MARK if here else NO_MARK, style)]
        for spec, cells, value in zip(self._specs, widths, self._records[row][1], strict=True):
            cell = value if isinstance(value, Cell) else Cell(value)
            own = style if here or not cell.style else self._style_of(cell.style)
            segments.append(Segment(fitted(cell.text, cells, right=spec.right), own))
        return self._strip(segments, width, style)

    def _style_of(self, name: str) -> Style:
        return self.get_component_rich_style(f"record-table--{name}")

    @staticmethod
    def _strip(segments: list[Segment], width: int, style: Style) -> Strip:
        return Strip(segments).adjust_cell_length(width, style)
