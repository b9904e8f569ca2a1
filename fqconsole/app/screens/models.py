"""The Models screen: what can be quantized, where it lies and what fits, with the built-in models first."""

from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from fqconsole.app import model_reading, model_rows
from fqconsole.app.actions import Action, bindings_of
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.messages import GpuReadings, JobChanged, JobEvents, ModelChosen, SessionWanted, StoreReady
from fqconsole.app.model_download import download_of, downloading_line
from fqconsole.app.model_history import WidthRecord, records, rows_of
from fqconsole.app.model_messages import ConfigOpened, ModelRead, ModelsListed
from fqconsole.app.model_rows import ORDERS, ModelRow, Order
from fqconsole.app.model_words import kind_of, nothing_matches
from fqconsole.app.screens.dialogs import Explanation
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.session_choices import choice_of_entry
from fqconsole.app.store_thread import sentence
from fqconsole.app.visible_text import one_line
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.record_table import ColumnSpec, RecordTable
from fqconsole.jobs.messages import ConfigDescribed, StartDescribe
from fqconsole.models.description import ModelEntry

REMEMBERED_ORDER = "models.order"
TYPED = ("hub", "config")  # rows that no list has, because the operator asked for them
NO_MODEL = "What is known of a model stands here, and what Enter does with it."
COLUMNS = (
    ColumnSpec("model", "Model", 24, flexible=True),
    ColumnSpec("parameters", "Params", 8, right=True),
    ColumnSpec("context", "Ctx", 6, right=True),
    ColumnSpec("attention", "  Attention", 13),
    ColumnSpec("disk", "GiB", 6, right=True),
    ColumnSpec("best", "  Best fit", 17),
)


class ModelsScreen(ModeScreen):
    """Lists after the first paint, describes row by row, and hands the chosen model to the console."""

    MODE = "models"
    FOOTER = (
        "everywhere.help",
        "models.filter",
        "models.open",
        "models.download",
        "models.sort",
        "models.about",
        "everywhere.palette",
        "everywhere.quit",
    )
    HELP = (
        "The models that can be quantized: built in, in your folders, in the Hugging Face cache. Those built "
        "in need no download. Best fit is the widest precision that fits one device, and the share of its "
        "memory that it needs. Enter goes on to the memory preview. To look at a model on the hub, press / "
        "and type its id; a path of a folder or of a config.json works as well."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("models")]

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[ModelRow] | None = None  # None: not looked for yet
        self._order: Order = "listed"
        self._reading = False
        self._awaited: str | None = None  # Enter was pressed on this row before its description was read
        self._problem = ""  # why there is no list
        self._taken: set[int] = set()  # downloads that the list was read again for
        self._history: dict[str, list[WidthRecord]] = {}  # what was measured, by row
        self._configs: dict[JobHandle, Any] = {}  # configs that workers describe

    def compose_body(self) -> ComposeResult:
        with Panel(title="Models", id="models-panel"):
            with Horizontal(id="models-top"):
                yield Input(placeholder="/ filter, a hub id, a folder or a config.json", id="models-filter")
                yield Static(id="models-order")
            yield RecordTable(COLUMNS, id="models-table")
            yield Static("Looking for models …", id="models-empty", classes="empty", markup=False)
        with Panel(title="", id="models-detail"):
            yield Static(id="models-about", markup=False)

    def on_mount(self) -> None:
        self._order = self.console.services.remembered.word(REMEMBERED_ORDER, "listed", ORDERS)
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
        try:
            found = self.console.services.list_models()
        except Exception as error:  # noqa: BLE001 - becomes a sentence where the list would be
            self.post_message(ModelsListed([], sentence(error)))
            return
        self.post_message(ModelsListed(found))

    @on(ModelsListed)
    def _listed(self, message: ModelsListed) -> None:
        self._problem = message.problem
        here = {entry.id for entry in message.entries}
        typed = [row for row in self._rows or [] if row.entry.source in TYPED and row.entry.id not in here]
        self._rows = [*(ModelRow(entry, problem=entry.problem or "") for entry in message.entries), *typed]
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
        worker, services = get_current_worker(), self.console.services
        capacity = services.capacity_here(readings)
        for row in rows:
            if worker.is_cancelled:
                return
            if not row.problem:
                made = model_reading.described(services, row.entry, capacity, row.description)
                self.post_message(ModelRead(made))

    @on(ModelRead)
    def _model_read(self, message: ModelRead) -> None:
        if self._rows is None:
            return
        keys = [row.key for row in self._rows]
        if message.row.key not in keys:
            self._rows.append(message.row)
            self._take_up(message)
            return
        self._rows[keys.index(message.row.key)] = message.row
        if message.asked:
            self._take_up(message)
            return
        table = self.query_one(RecordTable)
        if self._order == "listed":
            for spec, value in zip(COLUMNS, model_rows.cells(message.row), strict=True):
                table.change(message.row.key, spec.key, value)
            self._show_details()
        else:
            self._show()
        if message.row.key == table.current:
            self._read_history()
        if message.row.key == self._awaited == table.current and self.is_current:
            self._awaited = None
            self.action_open()

    def _take_up(self, message: ModelRead) -> None:
        """Show a model that was typed, whatever the filter says of its name, and go on with it by Enter."""
        if message.asked:
            if message.row not in self._arranged():
                self.query_one("#models-filter", Input).value = ""
            self.query_one(RecordTable).focus()
        self._show(select=message.row.key)
        self._read_history()

    # what was typed: a hub id, a folder, a config

    @work(thread=True, exclusive=True, exit_on_error=False, group="models-typed")
    def _look_up(self, word: str, readings: tuple[object, ...]) -> None:
        services = self.console.services
        match kind_of(word):
            case "config":
                self._open_config(word, readings)
            case "folder":
                self._found(model_reading.opened(services, word, readings))
            case _:
                self._found(model_reading.looked_up(services, word, readings))

    def _found(self, row: ModelRow) -> None:
        self.post_message(ModelRead(row, asked=True))

    def _open_config(self, word: str, readings: tuple[object, ...]) -> None:
        """Runs in a thread."""
        services = self.console.services
        try:
            config, about = services.open_config(word)
        except Exception as error:  # noqa: BLE001 - a wrong field is a sentence of the row
            self._found(ModelRow(ModelEntry(word, "config", None), problem=sentence(error)))
            return
        if about is None:
            self.post_message(ConfigOpened(word, config))
        else:
            self._found(model_reading.from_config(services, about, readings))

    @on(ConfigOpened)
    async def _describe_config(self, message: ConfigOpened) -> None:
        self.query_one("#models-empty", Static).update(
            f"A worker asks the model class of {message.word} for its shapes …"
        )
        request = StartDescribe(config=dict(message.config.outer))
        title = f"describing {message.word}"
        job = await self.console.jobs.start(request, kind="describe", title=title, unasked=True)
        self._configs[job] = message.config

    def job_events(self, message: JobEvents) -> None:
        for event in message.events:
            if isinstance(event, ConfigDescribed) and message.job in self._configs:
                self._take_shapes(self._configs[message.job], event.shapes, self.console.gpus.latest)
        if message.job.kind == "download" and self.is_current:
            self._show_details()

    @work(thread=True, exclusive=True, exit_on_error=False, group="models-typed")
    def _take_shapes(self, config: Any, shapes: Any, readings: tuple[object, ...]) -> None:
        services = self.console.services
        try:
            row = model_reading.from_config(services, services.describe_config(config, shapes), readings)
        except Exception as error:  # noqa: BLE001 - as above
            row = ModelRow(ModelEntry(str(config.place), "config", None), problem=sentence(error))
        self._found(row)

    def job_changed(self, message: JobChanged) -> None:
        job = message.job
        if job in self._configs and job.failure is not None:
            entry = ModelEntry(str(self._configs.pop(job).place), "config", None)
            problem = f"{job.failure.what} {job.failure.next_step}".strip()
            self._found(ModelRow(entry, problem=problem))
        if job.kind == "download" and job.status == "done" and job.number not in self._taken:
            self._taken.add(job.number)
            self._reading = False
            self._list()  # what was on the hub is here now
        if not job.active:
            self._history.clear()
            self._read_history()
        self._show_details()

    # what was measured

    @on(StoreReady)
    def _store_ready(self, message: StoreReady) -> None:
        if not message.problem:
            self._read_history()

    @work(exclusive=True, exit_on_error=False, group="models-history")
    async def _read_history(self) -> None:
        """Of the model under the cursor; a quantized one has that of its own folder."""
        row = self._current()
        if row is None or row.description is None or row.key in self._history:
            return
        about = row.description
        made = about.quantization
        model = about.id if made is None else made.source_model or about.id
        path = about.path if made is not None else None
        rows = await self.console.store.call(lambda store: rows_of(store, model, path))
        self._history[row.key] = records(rows)
        self._show_details()

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
        if self._problem:
            return f"The models can't be listed: {self._problem} Press r to look again."
        if words:
            return nothing_matches(words)
        return "No models found. Press r to look again, or / and type a hub id such as Qwen/Qwen3-8B."

    def _current(self) -> ModelRow | None:
        key = self.query_one(RecordTable).current
        return next((row for row in self._rows or [] if row.key == key), None)

    def _download_of(self, row: ModelRow | None) -> JobHandle | None:
        return download_of(self.console.jobs.active, row.entry.id) if row else None

    @on(RecordTable.Highlighted)
    def _highlighted(self) -> None:
        self._show_details()
        self._read_history()

    def _show_details(self) -> None:
        row = self._current()
        panel = self.query_one("#models-detail", Panel)
        about = self.query_one("#models-about", Static)
        panel.border_title = Content(one_line(row.entry.id) if row else "No model")
        summary = self.console.services.summaries().get(row.entry.id, "") if row else ""
        room = max(4, panel.size.height)
        found = self._history.get(row.key) if row else None
        under_way = downloading_line(self._download_of(row))
        lines = model_rows.detail_lines(row, summary, found, room, under_way) if row else [NO_MODEL]
        about.update("\n".join(lines))
        self.refresh_footer()

    # what the operator does

    def footer_entries(self) -> list[tuple[Action, str]]:
        entries = super().footer_entries()
        row = self._current()
        quantized = (
            row is not None and row.description is not None and row.description.quantization is not None
        )
        words = {"models.open": "talk" if quantized else "plan"}
        if self._download_of(row) is not None:
            words["models.download"] = "stop download"
        elif row is None or row.entry.source != "hub":
            words["models.download"] = ""
        entries = [(item, words.get(item.id, label)) for item, label in entries]
        return [(item, word) for item, word in entries if word]

    def action_filter(self) -> None:
        self.query_one("#models-filter", Input).focus()

    @on(Input.Changed, "#models-filter")
    def _filtered(self) -> None:
        self._show()

    @on(Input.Submitted, "#models-filter")
    def _filter_done(self, message: Input.Submitted) -> None:
        words = message.value.strip()
        if not self._arranged() and kind_of(words) != "words":
            asked = "Asking the hub about" if kind_of(words) == "hub" else "Reading"
            self.query_one("#models-empty", Static).update(f"{asked} {words} …")
            self._look_up(words, self.console.gpus.latest)
        elif self._arranged():
            self.query_one(RecordTable).focus()

    def action_sort(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self.console.services.remembered.keep(REMEMBERED_ORDER, self._order)
        self._show()

    def action_about(self) -> None:
        row = self._current()
        if row is not None:
            lines = model_rows.about_lines(row, self._history.get(row.key))
            self.console.push_screen(Explanation(model_rows.short_id(row.entry), lines))

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
            self.post_message(SessionWanted(choice_of_entry(row.entry, row.description)))
        else:
            self.post_message(ModelChosen(row.entry, row.description))

    async def action_download(self) -> None:
        row = self._current()
        if row is None or row.entry.source != "hub":
            self.notify("This model is on this machine already.")
            return
        if (job := self._download_of(row)) is not None:
            await job.cancel()  # its end is told with what to do next
            return
        begin = self.console.services.begin
        model_id = row.entry.id
        await self.console.begin_job(
            lambda store: begin.begin_download(store, model_id), kind="download", title=f"download {model_id}"
        )
