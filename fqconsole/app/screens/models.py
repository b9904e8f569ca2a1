"""The Models screen: what can be quantized, where it lies and what fits, with the built-in models first."""

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from fqconsole.app import model_rows
from fqconsole.app.actions import Action, bindings_of
from fqconsole.app.messages import GpuReadings, ModelChosen, SessionWanted
from fqconsole.app.model_rows import ORDERS, ModelRow, Order
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.store_thread import sentence
from fqconsole.app.verdicts import best_fit
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.record_table import ColumnSpec, RecordTable
from fqconsole.app.workspace import SessionChoice
from fqconsole.models.description import ModelDescription, ModelEntry

COLUMNS = (
    ColumnSpec("model", "Model", 24, flexible=True),
    ColumnSpec("parameters", "Params", 8, right=True),
    ColumnSpec("context", "Ctx", 6, right=True),
    ColumnSpec("attention", "  Attention", 13),
    ColumnSpec("disk", "GiB", 6, right=True),
    ColumnSpec("best", "  Best fit", 17),
)


class ModelsListed(Message):
    """The models were looked for."""

    def __init__(self, entries: list[ModelEntry]) -> None:
        super().__init__()
        self.entries = entries


class ModelRead(Message):
    """One model was described, or is unusable; its fit was computed."""

    def __init__(self, row: ModelRow) -> None:
        super().__init__()
        self.row = row


class ModelsScreen(ModeScreen):
    """Lists after the first paint, describes row by row, and hands the chosen model to the console."""

    MODE = "models"
    FOOTER = (
        "everywhere.help",
        "models.filter",
        "models.open",
        "models.download",
        "models.sort",
        "everywhere.palette",
        "everywhere.quit",
    )
    HELP = (
        "The models that can be quantized: built in, in your folders, in the Hugging Face cache. Those built "
        "in need no download. Best fit is the widest precision that fits one device, and the share of its "
        "memory that it needs. Enter goes on to the memory preview. To look at a model on the hub, press / "
        "and type its id."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("models")]

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[ModelRow] | None = None  # None: not looked for yet
        self._order: Order = "listed"
        self._reading = False
        self._awaited: str | None = None  # Enter was pressed on this row before its description was read

    def compose_body(self) -> ComposeResult:
        with Panel(title="Models", id="models-panel"):
            with Horizontal(id="models-top"):
                yield Input(placeholder="/ filter, or a hub id", id="models-filter")
                yield Static(id="models-order")
            yield RecordTable(COLUMNS, id="models-table")
            yield Static("Looking for models …", id="models-empty", classes="empty", markup=False)
        with Panel(title="", id="models-detail"):
            yield Static(id="models-about", markup=False)

    def on_mount(self) -> None:
        self.query_one(RecordTable).focus()
        self._show()
        self.call_after_refresh(self.action_reload)

    # finding and describing

    def action_reload(self) -> None:
        self._rows = None
        self._reading = False
        self._show()
        self._list()

    @work(thread=True, exclusive=True, exit_on_error=False, group="models-list")
    def _list(self) -> None:
        self.post_message(ModelsListed(self.console.services.list_models()))

    @on(ModelsListed)
    def _listed(self, message: ModelsListed) -> None:
        self._rows = [ModelRow(entry, problem=entry.problem or "") for entry in message.entries]
        self._show()
        self._read_when_ready()

    @on(GpuReadings)
    def _read_when_ready(self) -> None:
        """The fit needs to know the devices, so rows are described once there are readings."""
        if self._rows is not None and not self._reading and self.console.gpus.host is not None:
            self._reading = True
            self._read(list(self._rows), self.console.gpus.latest)

    @work(thread=True, exclusive=True, exit_on_error=False, group="models-read")
    def _read(self, rows: list[ModelRow], readings: tuple[object, ...]) -> None:
        worker = get_current_worker()
        capacity = self.console.services.capacity_here(readings)
        for row in rows:
            if worker.is_cancelled:
                return
            if not row.problem:
                self.post_message(ModelRead(self._described(row, capacity)))

    def _described(self, row: ModelRow, capacity: object) -> ModelRow:
        """Runs in a thread: touches no widget."""
        services = self.console.services
        try:
            about = row.description or services.describe(row.entry)
            best = (
                None if about.quantization else best_fit(services.preview(about, capacity, gpu_counts=(1,)))
            )
        except Exception as error:  # noqa: BLE001 - one bad folder must not hide the other models
            return ModelRow(row.entry, problem=sentence(error))
        return ModelRow(row.entry, about, best)

    @on(ModelRead)
    def _model_read(self, message: ModelRead) -> None:
        if self._rows is None:
            return
        keys = [row.key for row in self._rows]
        if message.row.key not in keys:
            self._rows.append(message.row)
            self._show(select=message.row.key)
            return
        self._rows[keys.index(message.row.key)] = message.row
        if self._order == "listed":
            table = self.query_one(RecordTable)
            for spec, value in zip(COLUMNS, model_rows.cells(message.row), strict=True):
                table.change(message.row.key, spec.key, value)
            self._show_details()
        else:
            self._show()
        if message.row.key == self._awaited == self.query_one(RecordTable).current and self.is_current:
            self._awaited = None
            self.action_open()

    @work(thread=True, exclusive=True, exit_on_error=False, group="models-hub")
    def _look_up(self, model_id: str, readings: tuple[object, ...]) -> None:
        entry = ModelEntry(model_id, "hub", None)
        services = self.console.services
        try:
            row = ModelRow(entry, services.describe_hub(model_id))
            row = self._described(row, services.capacity_here(readings))
        except Exception as error:  # noqa: BLE001 - offline is a normal state with a sentence of its own
            row = ModelRow(entry, problem=sentence(error))
        self.post_message(ModelRead(row))

    # showing

    def _arranged(self) -> list[ModelRow]:
        words = self.query_one("#models-filter", Input).value
        return model_rows.arranged(self._rows or [], words, self._order)

    def _show(self, select: str | None = None) -> None:
        shown = self._arranged()
        table = self.query_one(RecordTable)
        table.show_records([(row.key, model_rows.cells(row)) for row in shown])
        if select is not None:
            table.move_to_key(select)
        table.display = bool(shown)
        empty = self.query_one("#models-empty", Static)
        empty.display = not shown
        empty.update(self._empty_text())
        total = model_rows.counts(self._rows or [])
        self.query_one("#models-panel", Panel).border_title = f"Models · {total}" if total else "Models"
        self.query_one("#models-order", Static).update(f"sort: {self._order}")
        self._show_details()

    def _empty_text(self) -> str:
        words = self.query_one("#models-filter", Input).value.strip()
        if self._rows is None:
            return "Looking for models …"
        if words.count("/") == 1:
            return f"{words} is not on this machine. Press Enter to look it up on the Hugging Face hub."
        if words:
            return (
                f"No model matches “{words}”. Esc shows all; a hub id such as Qwen/Qwen3-8B can be looked up."
            )
        return "No models found. Press r to look again, or / and type a hub id such as Qwen/Qwen3-8B."

    def _current(self) -> ModelRow | None:
        key = self.query_one(RecordTable).current
        return next((row for row in self._rows or [] if row.key == key), None)

    @on(RecordTable.Highlighted)
    def _show_details(self) -> None:
        row = self._current()
        panel = self.query_one("#models-detail", Panel)
        about = self.query_one("#models-about", Static)
        panel.border_title = row.entry.id if row else "No model"
        summary = self.console.services.summaries().get(row.entry.id, "") if row else ""
        about.update("\n".join(model_rows.detail_lines(row, summary)) if row else "")
        self.refresh_footer()

    # what the operator does

    def footer_entries(self) -> list[tuple[Action, str]]:
        entries = super().footer_entries()
        row = self._current()
        quantized = (
            row is not None and row.description is not None and row.description.quantization is not None
        )
        word = "talk" if quantized else "plan"
        on_hub = row is not None and row.entry.source == "hub"
        return [
            (item, word if item.id == "models.open" else label)
            for item, label in entries
            if on_hub or item.id != "models.download"
        ]

    def action_filter(self) -> None:
        self.query_one("#models-filter", Input).focus()

    @on(Input.Changed, "#models-filter")
    def _filtered(self) -> None:
        self._show()

    @on(Input.Submitted, "#models-filter")
    def _filter_done(self, message: Input.Submitted) -> None:
        words = message.value.strip()
        if not self._arranged() and words.count("/") == 1:
            self.query_one("#models-empty", Static).update(f"Asking the hub about {words} …")
            self._look_up(words, self.console.gpus.latest)
        elif self._arranged():
            self.query_one(RecordTable).focus()

    def action_sort(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._show()

    def go_back(self) -> bool:
        box = self.query_one("#models-filter", Input)
        if not box.value and not box.has_focus:
            return False
        box.value = ""
        self.query_one(RecordTable).focus()
        return True

    @on(RecordTable.Opened)
    def action_open(self) -> None:
        row = self._current()
        if row is None:
            return
        if row.problem:
            self.notify(row.problem, title=f"{row.entry.id} can't be used", severity="warning", markup=False)
        elif row.description is None:
            self._awaited = row.key
        elif row.description.quantization is not None and row.entry.path:
            self.post_message(SessionWanted(session_of(row.entry, row.description)))
        else:
            self.post_message(ModelChosen(row.entry, row.description))

    async def action_download(self) -> None:
        row = self._current()
        if row is None or row.entry.source != "hub":
            self.notify("This model is on this machine already.")
            return
        begin = self.console.services.begin
        model_id = row.entry.id
        await self.console.begin_job(
            lambda store: begin.begin_download(store, model_id), kind="download", title=f"download {model_id}"
        )


def session_of(entry: ModelEntry, about: ModelDescription) -> SessionChoice:
    """A session on a checkpoint that is quantized already."""
    bits = about.quantization.bits if about.quantization else 16
    return SessionChoice(
        path=entry.path or "",
        model_id=entry.id,
        label=f"{model_rows.short_id(entry)} int{bits}",
        bits=bits,
        suggested_prompt=about.suggested_prompt or "",
    )
