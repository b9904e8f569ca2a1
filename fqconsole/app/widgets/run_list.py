"""The list of runs with its filter: pages of rows read in the store's thread, in the order that is chosen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Resize
from textual.message import Message
from textual.widgets import Input, Static

from fqconsole.app import run_rows
from fqconsole.app.run_rows import ORDERS
from fqconsole.app.store_thread import sentence
from fqconsole.app.widgets.filter_field import FilterField
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.record_table import RecordTable

if TYPE_CHECKING:
    from fqconsole.app.console import FqConsole
    from store import RunRow, Store

PAGE = 500  # runs read at once; more follow at the end of the list
TYPED_PAGE = 100  # while the filter is typed: the next key makes them old
NEAR_END = 50  # rows from the end of what is read
NO_RUNS = "No runs yet. Press 1, choose a model and press ⏎: what you quantize, ask and measure is kept here."


def _page(store: "Store", words: str, *, typing: bool, **page: Any) -> "tuple[list[RunRow], int]":
    """A page of the runs that match. While a term is on its way ("bit" to "bits<=4", "model:" to a model) the
    list is that of the terms before it: half a column is no word to look for, and no mistake yet.
    """
    from store import FilterError

    under_way = store.filter_hint(words) if typing else None
    try:
        found = store.page(words, **page)
    except FilterError:
        if under_way is None or not under_way.options:
            raise
        return store.page(under_way.settled, **page)
    if not found[1] and under_way is not None and under_way.columns:
        return store.page(under_way.settled, **page)
    return found


class RunList(Panel):
    """Posts `Shown` whenever another run may be under the cursor, or the rows have changed."""

    class Shown(Message):
        """The list was drawn again, or the cursor moved."""

    def __init__(self, *, id: str) -> None:
        super().__init__(title="Runs", id=id)
        self._rows: list[RunRow] = []
        self._total = 0
        self._listed: str | None = None
        self._problem = ""
        self._marks: Sequence[str] = ()
        self._order = ORDERS[0]
        self._specs = run_rows.columns(80)

    def compose(self) -> ComposeResult:
        with Horizontal(id="runs-top"):
            yield FilterField(input_id="runs-filter", id="runs-filter-field")
            yield Static(id="runs-order", markup=False)
        yield Static(id="runs-problem", classes="bad", markup=False)
        yield RecordTable(self._specs, id="runs-table")
        yield Static("Reading the runs …", id="runs-empty", classes="empty", markup=False)

    def on_mount(self) -> None:
        self.table.focus()

    @property
    def table(self) -> RecordTable:
        return self.query_one(RecordTable)

    @property
    def rows(self) -> "list[RunRow]":
        """What was read so far, in the order of the list."""
        return self._rows

    @property
    def current(self) -> "RunRow | None":
        """The run under the cursor."""
        key = self.table.current
        return next((row for row in self._rows if row.run_id == key), None)

    @property
    def listed(self) -> str | None:
        """The filter that the list was last read with; None before the first reading."""
        return self._listed

    @property
    def _filter(self) -> str:
        return self.query_one(FilterField).input.value.strip()

    @on(Resize)
    def _fit_columns(self) -> None:
        specs = run_rows.columns(self.screen.size.width)
        if specs != self._specs:
            self._specs = specs
            self.table.show_columns(specs)
            self._show()

    # reading

    @work(exclusive=True, group="runs-read", exit_on_error=False)
    async def read(self, *, more: bool = False) -> None:
        """Read what is listed again, or the page after it; a filter that can't be read leaves the list.

        A reading that is overtaken by the next key before its turn came is never made.
        """
        words, sort = self._filter, self._order.sort
        typing = self.query_one(FilterField).input.has_focus
        offset = len(self._rows) if more else 0
        limit = PAGE if more else TYPED_PAGE if typing else max(PAGE, len(self._rows))

        def page(store: "Store") -> "tuple[list[RunRow], int]":
            return _page(store, words, typing=typing, limit=limit, offset=offset, sort=sort)

        try:
            rows, self._total = await cast("FqConsole", self.app).store.call(page)
        except Exception as error:  # noqa: BLE001 - a wrong filter or a database out of reach is a sentence
            self._problem = sentence(error)
        else:
            self._problem = ""
            self._rows = [*self._rows, *rows] if more else rows
        self._listed = words
        self._show()

    @work(exclusive=True, group="runs-hint", exit_on_error=False)
    async def _read_hint(self) -> None:
        text = self.query_one(FilterField).input.value
        hint = await cast("FqConsole", self.app).store.call(lambda store: store.filter_hint(text))
        self.query_one(FilterField).show_hint(hint)

    # showing

    def show_marks(self, marks: Sequence[str]) -> None:
        self._marks = tuple(marks)
        self._show()

    def _show(self) -> None:
        now = cast("FqConsole", self.app).services.clock()
        table, marks = self.table, set(self._marks)
        table.show_records(
            [
                (row.run_id, run_rows.cells(row, self._specs, now=now, marked=row.run_id in marks))
                for row in self._rows
            ]
        )
        table.display = bool(self._rows)
        if self._rows and self.screen.focused is None:
            table.focus()  # hidden while it was empty, it had lost the focus
        empty, problem = self.query_one("#runs-empty", Static), self.query_one("#runs-problem", Static)
        empty.display = not self._rows
        empty.update(self._empty_words())
        problem.display = bool(self._problem and (self._rows or self._filter))
        problem.update(self._problem)
        known = self._listed is not None and (self._rows or not self._problem)
        marked = f" · {len(marks)} marked" if marks else ""
        self.border_title = f"Runs · {self._total:,}{marked}" if known else "Runs"
        more = self._total > len(self._rows) and self._rows
        self.border_subtitle = f"{len(self._rows):,} read; the rest follows at the end" if more else ""
        self.query_one("#runs-order", Static).update(f"s sort: {self._order.word}")
        self.post_message(self.Shown())

    def _empty_words(self) -> str:
        if self._listed is None:
            return "Reading the runs …"
        if self._filter:
            return "No run matches. Esc shows all." if not self._problem else "Esc shows all runs."
        return self._problem or NO_RUNS

    @on(RecordTable.Highlighted)
    def _moved(self) -> None:
        self.post_message(self.Shown())
        at_end = self.table.cursor_row >= len(self._rows) - NEAR_END
        if at_end and len(self._rows) < self._total and not self._problem:
            self.read(more=True)

    # finding

    def focus_filter(self) -> None:
        self.query_one(FilterField).input.focus()
        self._read_hint()

    def clear_filter(self) -> bool:
        """Esc: True where there was something to clear or to leave."""
        box = self.query_one(FilterField).input
        if not (box.value or box.has_focus):
            return False
        box.value = ""
        self.table.focus()
        return True

    @on(Input.Changed, "#runs-filter")
    def _filtered(self) -> None:
        self._rows = self._rows[:PAGE]
        self.read()
        self._read_hint()

    @on(Input.Submitted, "#runs-filter")
    def _filter_done(self) -> None:
        if self._rows:
            self.table.focus()
        self.read()

    def sort_by_next(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self.table.move_to(0)
        self.read()
