"""The GPUs screen: what each GPU does, who holds its memory, and what happened. It only looks."""

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Grid, VerticalScroll
from textual.events import Resize
from textual.widgets import Static

from fqconsole.app import gpu_view
from fqconsole.app.actions import Action, bindings_of
from fqconsole.app.gpu_layout import gpu_layout
from fqconsole.app.gpu_view import PROCESS_ORDERS, ProcessOrder
from fqconsole.app.messages import GpuReadings
from fqconsole.app.screens.dialogs import log_line
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.widgets.gpu_card import GpuCard
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.record_table import ColumnSpec, RecordTable

COLUMNS = (
    ColumnSpec("gpu", "GPU", 4, right=True),
    ColumnSpec("pid", "PID", 9, right=True),
    ColumnSpec("user", "  user", 12),
    ColumnSpec("memory", "memory", 10, right=True),
    ColumnSpec("command", "  command", 20, flexible=True),
)
EVENTS_SHOWN = 100
INTERVALS = (0.5, 1.0, 2.0, 5.0, 10.0)  # seconds


class GpusScreen(ModeScreen):
    """Draws the console's GpuHistory with every reading."""

    MODE = "gpus"
    FOOTER = (
        "everywhere.help",
        "gpus.pause",
        "gpus.interval",
        "gpus.sort",
        "gpus.copy",
        "everywhere.maximize",
        "everywhere.back",
        "everywhere.palette",
    )
    HELP = (
        "Read through NVML; i changes how often. N/A is a reading that this GPU, or this container, does not "
        "give; the processes of other containers are not visible. ! on a card names what holds the clocks "
        "down, the events say what it means. Nothing on this screen changes a GPU."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("gpus")]

    def __init__(self) -> None:
        super().__init__()
        self._order: ProcessOrder = "memory"
        self._paused = False

    def compose_body(self) -> ComposeResult:
        with Panel(title="This machine", id="gpus-none"):
            yield Static(id="gpus-why", markup=False)
        with VerticalScroll(id="gpus-cards", can_focus=False):
            yield Grid(id="gpus-grid")
        with Panel(title="Processes", id="gpus-processes"):
            yield RecordTable(COLUMNS, id="gpus-table")
            yield Static("No process holds GPU memory.", id="gpus-idle", classes="quiet")
        with Panel(title="Events", id="gpus-events"):
            yield Static(id="gpus-log", markup=False)

    def on_mount(self) -> None:
        self.query_one(RecordTable).focus()

    def workspace_changed(self, what: str) -> None:
        if what == "shown":
            self._show()

    @on(Resize)
    def _sized(self) -> None:
        self._show()

    @on(GpuReadings)
    def _new_readings(self) -> None:
        if self.is_current and not self._paused:
            self._show()

    def _show(self) -> None:
        gpus = self.console.gpus
        without, why = self.query_one("#gpus-none"), self.query_one("#gpus-why", Static)
        without.display = not gpus.latest
        self.query_one("#gpus-cards").display = bool(gpus.latest)
        if without.display:
            width, height = max(20, self.size.width - 4), max(6, self.size.height * 2 // 5 - 2)
            without.styles.height = height + 2
            why.update("\n".join(gpu_view.without_gpu_lines(gpus, width, height)))
        self._show_cards(gpus.latest)
        rows = self._rows()
        table = self.query_one(RecordTable)
        table.show_records(rows)
        table.display = bool(rows)
        self.query_one("#gpus-idle").display = not rows
        by = "" if self._order == "memory" else f" · by {self._order}"
        paused = " · held still" if self._paused else ""
        panel = self.query_one("#gpus-processes", Panel)
        panel.border_title = f"Processes{by}{paused}"
        panel.border_subtitle = f"read every {self.console.gpu_interval:g} s"
        events = list(gpus.events)[-EVENTS_SHOWN:]
        lines = [log_line(t, "info", text) for t, text in reversed(events)]
        self.query_one("#gpus-log", Static).update("\n".join(lines) or "Nothing has happened yet.")

    def _rows(self) -> list[tuple[str, list[str]]]:
        workers = gpu_view.worker_names(self.console.jobs.handles)
        return gpu_view.process_rows(self.console.gpus.latest, self._order, workers)

    def _show_cards(self, snapshots: tuple[Any, ...]) -> None:
        layout = gpu_layout(len(snapshots), *self.size)
        grid = self.query_one("#gpus-grid", Grid)
        grid.styles.grid_size_columns = layout.columns
        grid.styles.grid_rows = str(layout.height)
        cards = {card.id: card for card in self.query(GpuCard)}
        for snapshot in snapshots:
            card = cards.pop(f"gpu-{snapshot.index}", None)
            if card is None:
                card = GpuCard(snapshot.index)
                grid.mount(card)
            card.show(snapshot, self.console.gpus, layout)
        for gone in cards.values():
            gone.remove()

    # what the operator does

    def footer_entries(self) -> list[tuple[Action, str]]:
        word = "go on" if self._paused else "pause"
        return [
            (item, word if item.id == "gpus.pause" else label) for item, label in super().footer_entries()
        ]

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._show()
        self.refresh_footer()

    def action_sort(self) -> None:
        self._order = PROCESS_ORDERS[(PROCESS_ORDERS.index(self._order) + 1) % len(PROCESS_ORDERS)]
        self._show()

    def action_interval(self) -> None:
        """The next longer interval, behind the longest the shortest again."""
        now = self.console.gpu_interval
        self.console.set_gpu_interval(next((each for each in INTERVALS if each > now), INTERVALS[0]))
        self._show()

    def action_copy(self) -> None:
        snapshots = self.console.gpus.latest
        if not snapshots:
            self.notify("There is no GPU to copy from.")
            return
        rows = self._rows()
        self.console.copy_to_clipboard(gpu_view.copied_text(snapshots, rows))
        self.notify(f"Copied: {len(snapshots)} GPUs, {len(rows)} processes.")
