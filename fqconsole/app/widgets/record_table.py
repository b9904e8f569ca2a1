"""A table of records with the console's keys: j/k, g/G, a row cursor; Enter stays with the screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable
from textual.widgets.data_table import CellDoesNotExist, RowDoesNotExist

from fqconsole.app.theme import THEME

MARK = "▌ "
NO_MARK = "  "


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
    """A cell with a style of the theme's words, "ok", "tight", "bad" or "quiet"; a plain string has none."""

    text: str
    style: str = ""


Value = str | Cell
STYLES = {"ok": THEME.success or "", "tight": THEME.warning or "", "bad": THEME.error or "", "quiet": "dim"}


class RecordTable(DataTable[Text], inherit_bindings=False):
    """Row cursor with a mark of its own, so that it is seen without colour.

    The screen binds Enter itself, so that the key can be remapped and stands in the help; a click on the row
    under the cursor posts RowSelected.
    """

    HELP: ClassVar[str] = "j and k or the arrow keys move, g and G jump to the first and the last row."

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_down", "down", show=False),
        Binding("up,k", "cursor_up", "up", show=False),
        Binding("g,home", "scroll_top", "first", show=False),
        Binding("G,end", "scroll_bottom", "last", show=False),
        Binding("pagedown", "page_down", "page down", show=False),
        Binding("pageup", "page_up", "page up", show=False),
    ]

    def __init__(self, columns: Sequence[ColumnSpec], *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", cell_padding=0)
        self._specs = {spec.key: spec for spec in columns}
        self._marked: str | None = None

    def on_mount(self) -> None:
        self.add_column(Text(NO_MARK), width=len(MARK), key="mark")
        for spec in self._specs.values():
            label = Text(spec.label, justify="right" if spec.right else "left", no_wrap=True, end="")
            self.add_column(label, width=spec.width, key=spec.key)

    def on_resize(self) -> None:
        self._stretch()

    def _stretch(self) -> None:
        """Give the flexible column what the others leave."""
        flexible = next((spec for spec in self._specs.values() if spec.flexible), None)
        if flexible is None or not self.columns:
            return
        others = sum(spec.width for spec in self._specs.values() if spec is not flexible)
        width = max(flexible.width, self.scrollable_content_region.width - len(MARK) - others)
        column = next(item for item in self.ordered_columns if item.key.value == flexible.key)
        if column.width != width:
            column.width = width
            self._require_update_dimensions = True
            self._clear_caches()
            self.check_idle()
            self.refresh(layout=True)

    @property
    def current(self) -> str | None:
        """The key of the record under the cursor; None when the table is empty."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.ordered_rows[self.cursor_row].key.value

    def show_records(self, records: Sequence[tuple[str, Sequence[Value]]]) -> None:
        """Replace all records (key, values in the order of the columns).

        The cursor stays on its record, or at the top when it was there: in a live list the top is the news.
        """
        kept, row = self.current, self.cursor_row
        self._marked = None
        with self.app.batch_update():
            self.clear()
            for key, values in records:
                cells = [
                    self._text(spec, value) for spec, value in zip(self._specs.values(), values, strict=True)
                ]
                self.add_row(Text(NO_MARK, end=""), *cells, key=key)
            keys = [key for key, _values in records]
            if keys:
                self.move_cursor(
                    row=keys.index(kept) if row and kept in keys else min(row, len(keys) - 1), animate=False
                )
                self._mark(self.current)
        self._stretch()

    def change(self, key: str, column: str, value: Value) -> None:
        """Change one cell; a record that is not shown (any more) is ignored."""
        try:
            self.update_cell(key, column, self._text(self._specs[column], value))
        except (CellDoesNotExist, RowDoesNotExist):
            return

    @staticmethod
    def _text(spec: ColumnSpec, value: Value) -> Text:
        cell = value if isinstance(value, Cell) else Cell(value)
        return Text(
            cell.text,
            style=STYLES.get(cell.style, ""),
            justify="right" if spec.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            end="",
        )

    def _mark(self, key: str | None) -> None:
        for name, mark in ((self._marked, NO_MARK), (key, MARK)):
            if name is not None:
                try:
                    self.update_cell(name, "mark", Text(mark, end=""))
                except (CellDoesNotExist, RowDoesNotExist):
                    continue
        self._marked = key

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.row_key.value != self._marked and event.row_key.value == self.current:
            self._mark(event.row_key.value)
