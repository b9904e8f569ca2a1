"""A table of records with the console's keys: j/k, g/G, a row cursor; Enter stays with the screen."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import DataTable


class RecordTable(DataTable[object], inherit_bindings=False):
    """Row cursor; the screen binds Enter itself, so that the key can be remapped and stands in the help."""

    HELP: ClassVar[str] = (
        "j and k or the arrow keys move, g and G jump to the first and last row, Enter opens the row."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_down", "down", show=False),
        Binding("up,k", "cursor_up", "up", show=False),
        Binding("g,home", "scroll_top", "first", show=False),
        Binding("G,end", "scroll_bottom", "last", show=False),
        Binding("pagedown", "page_down", "page down", show=False),
        Binding("pageup", "page_up", "page up", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self.cell_padding = 1
