"""What is seen of a quantize job below its bar: the map of the model, the plot, the matrices, the log."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Log, Static

from fqconsole.app import heat_map, quantize_view
from fqconsole.app.heat_map import MapCell, View
from fqconsole.app.planned import Planned
from fqconsole.app.quantize_estimate import QuantizeEstimate
from fqconsole.app.quantize_progress import QuantizeProgress, WorstOrder, map_cells
from fqconsole.app.screens.dialogs import log_line, wrapped
from fqconsole.app.widgets.error_plot import ErrorPlot
from fqconsole.app.widgets.frontier_plot import FrontierPlot
from fqconsole.app.widgets.matrix_map import MatrixMap
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.record_table import ColumnSpec, RecordTable, Value
from quantizer.plan import Plan

COLUMNS: tuple[ColumnSpec, ...] = (
    ColumnSpec("layer", "layer", 5, right=True),
    ColumnSpec("matrix", " matrix", 10, flexible=True),
    ColumnSpec("scheme", "bits/group ", 11, right=True),
    ColumnSpec("error", "error", 7, right=True),
)
PLANNED_COLUMNS = (*COLUMNS[:-1], ColumnSpec("loss", "loss", 7, right=True))
MOST_ROWS = 200
LOG_LINES = 5000
Look = Literal["bits", "error", "plot"]
LOOKS: tuple[Look, ...] = ("bits", "error", "plot")
LOOK_WORDS = {"bits": "errors", "error": "plot", "plot": "bits"}  # what the key turns to next
SHORT = 34  # lines of a terminal under which one panel stands for map and plot


class QuantizeBoard(Vertical):
    """Shows a job, or the plan of one that did not begin. At 80×24 map and plot take turns."""

    HELP: ClassVar[str] = "Map, plot and list tell of the same matrices; w turns to the next view."

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._look: Look = "bits"
        self._order: WorstOrder = "error"
        self._state = QuantizeProgress()
        self._reasons: dict[str, str] = {}
        self._cells: list[MapCell] = []
        self._logged = 0
        self._columns = COLUMNS
        self._planning = True  # a plan that did not begin has no log

    def compose(self) -> ComposeResult:
        with Horizontal(id="quantize-middle"):
            with Vertical(id="quantize-left"):
                with Panel(title="Map", id="quantize-map-panel"):
                    yield MatrixMap(id="quantize-map")
                    yield Static("The map of the model is drawn here.", id="quantize-no-map", classes="quiet")
                with Panel(title="Relative error by layer", id="quantize-plot-panel"):
                    yield ErrorPlot(id="quantize-plot")
                    yield FrontierPlot(id="quantize-frontier")
            with Panel(title="Worst matrices", id="quantize-worst"):
                yield RecordTable(COLUMNS, id="quantize-table")
                yield Static(
                    "The matrices that lose most are listed here.", id="quantize-none", classes="quiet"
                )
                yield Static(id="quantize-reason", markup=False)
        with Panel(title="Log", id="quantize-log-panel"):
            yield Log(max_lines=LOG_LINES, id="quantize-log")

    def on_mount(self) -> None:
        self._arrange()

    def on_resize(self) -> None:
        self._arrange()

    # views

    @property
    def next_look(self) -> str:
        """What `turn` shows next, for the footer."""
        return "errors" if self._look == "bits" else "bits" if not self._short else LOOK_WORDS[self._look]

    @property
    def _short(self) -> bool:
        return self.screen.size.height < SHORT

    def turn(self) -> None:
        """To the next view: bits and groups, errors, and where there is no room for both the plot."""
        looks = LOOKS if self._short else LOOKS[:-1]
        self._look = looks[(looks.index(self._look) + 1) % len(looks)] if self._look in looks else "bits"
        self._arrange()
        self._show_map()

    def sort(self, order: WorstOrder) -> None:
        self._order = order

    def _arrange(self) -> None:
        plot = self._look == "plot"
        self.query_one("#quantize-map-panel").display = not (plot and self._short)
        self.query_one("#quantize-plot-panel").display = plot or not self._short
        self.query_one("#quantize-log-panel").display = not self._planning

    # what is shown

    def clear_log(self) -> None:
        self._logged = 0
        self.query_one(Log).clear()

    def show_job(self, state: QuantizeProgress, layers: int | None, draft: Plan | None) -> None:
        """A job that runs or has ended; `layers` is how many the model has. `draft` gives the map its places
        until the plan is decided.
        """
        self._state = state
        plan = state.plan.plan if state.plan else None
        self._cells = map_cells(plan or draft, state.matrices, planned=plan is not None)
        self._reasons = {event.name: event.reason for event in state.matrices}
        self._planning = False
        self._arrange()
        self._show_plot(state.errors_by_layer(), layers, None)
        self._show_map()
        rows = [
            (event.name, quantize_view.worst_cells(event, plan))
            for event in state.worst(self._order, MOST_ROWS)
        ]
        by = "" if self._order == "error" else f" · by {self._order}"
        self._show_rows(COLUMNS, rows, f"Worst matrices{by}")
        self._show_log()

    def show_plan(self, guess: QuantizeEstimate | None, made: Planned | None, layers: int | None) -> None:
        """What would be done; `made` where it follows a goal."""
        self._state = QuantizeProgress()
        ready = made if made is not None and made.plan is not None else None
        self._cells = map_cells(guess.plan, (), planned=guess.decided) if guess else []
        self._reasons = {matrix.name: matrix.reason for matrix in guess.plan.matrices} if guess else {}
        self._planning = True
        self._arrange()
        self._show_plot([], layers, ready)
        self._show_map()
        if ready is not None and guess is not None:
            rows = quantize_view.planned_rows(ready)[:MOST_ROWS]
            self._show_rows(PLANNED_COLUMNS, rows, "Matrices by predicted loss")
        else:
            self._show_rows(COLUMNS, [], "Worst matrices")

    def _show_plot(
        self, errors: Sequence[tuple[int, float, bool]], layers: int | None, made: Planned | None
    ) -> None:
        plot, frontier = self.query_one(ErrorPlot), self.query_one(FrontierPlot)
        plot.display, frontier.display = made is None, made is not None
        panel = self.query_one("#quantize-plot-panel", Panel)
        panel.border_title = "Relative error by layer" if made is None else "Size against predicted loss"
        plot.show(errors, layers)
        if made is not None:
            frontier.show(made)

    def _show_map(self) -> None:
        view: View = "error" if self._look == "error" else "bits"
        panel, drawn = self.query_one("#quantize-map-panel", Panel), self.query_one(MatrixMap)
        drawn.show(self._cells, view)
        drawn.display = bool(self._cells)
        self.query_one("#quantize-no-map").display = not self._cells
        panel.border_title = "Errors by matrix" if view == "error" else "Bits and groups"
        panel.border_subtitle = heat_map.legend(self._cells, view, panel.size.width) if self._cells else ""

    def _show_rows(
        self, columns: tuple[ColumnSpec, ...], rows: list[tuple[str, list[Value]]], title: str
    ) -> None:
        table = self.query_one(RecordTable)
        if columns != self._columns:
            self._columns = columns
            table.show_columns(columns)
        table.show_records(rows)
        table.display = bool(rows)
        self.query_one("#quantize-none").display = not rows
        self.query_one("#quantize-worst", Panel).border_title = title
        self._show_reason()

    @on(RecordTable.Highlighted)
    def _show_reason(self) -> None:
        self._tell(self._reasons.get(self.query_one(RecordTable).current or "", ""))

    @on(MatrixMap.Picked)
    def _picked(self, message: MatrixMap.Picked) -> None:
        """The list may not hold the matrix, so it is told in words, and why it is as it is."""
        self.query_one(RecordTable).move_to_key(message.cell.name)
        self._tell(heat_map.sentence(message.cell), self._reasons.get(message.cell.name, ""))

    def _tell(self, *words: str) -> None:
        text = self.query_one("#quantize-reason", Static)
        text.update("\n".join(word for word in words if word))
        text.display = any(words)

    def _show_log(self) -> None:
        log, lines = self.query_one(Log), self._state.log
        if self._logged < len(lines):
            outer = log.outer_size.width or self.size.width - 4  # before the first layout: without two edges
            width = outer - log.styles.scrollbar_size_vertical
            log.write_lines(
                [part for line in lines[self._logged :] for part in wrapped(log_line(*line), width)]
            )
            self._logged = len(lines)
