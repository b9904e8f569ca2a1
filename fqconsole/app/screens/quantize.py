"""The Quantize screen: what the job will do and cost, then the job itself, live."""

from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Log, Static

from fqconsole.app import formatting, quantize_estimate, quantize_requests, quantize_view
from fqconsole.app.actions import Action, bindings_of
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.messages import JobChanged, JobEvents, SessionWanted
from fqconsole.app.quantize_estimate import QuantizeEstimate
from fqconsole.app.quantize_progress import QuantizeProgress, WorstOrder
from fqconsole.app.screens.dialogs import Question, log_line, wrapped
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.store_thread import sentence
from fqconsole.app.widgets.error_plot import ErrorPlot
from fqconsole.app.widgets.job_bar import JobBar
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.record_table import ColumnSpec, RecordTable
from fqconsole.app.workspace import FitChoice
from fqconsole.jobs.messages import StartQuantize
from fqconsole.models.description import ModelDescription, ModelEntry

COLUMNS = (
    ColumnSpec("layer", "layer", 5, right=True),
    ColumnSpec("matrix", " matrix", 11, flexible=True),
    ColumnSpec("group", "group  ", 10, right=True),
    ColumnSpec("error", "error", 7, right=True),
)
ORDERS: tuple[WorstOrder, ...] = ("error", "layer", "bytes")
MOST_ROWS = 200
LOG_LINES = 5000


class EstimateReady(Message):
    """What the job will do is computed; a `problem` says why it can't be."""

    def __init__(self, asked: tuple[Any, ...], guess: QuantizeEstimate | None, problem: str = "") -> None:
        super().__init__()
        self.asked = asked
        self.guess = guess
        self.problem = problem


class QuantizeScreen(ModeScreen):
    """Shows the plan of the present choice, or the job that runs, or the last one made from this choice."""

    MODE = "quantize"
    FOOTER = (
        "everywhere.help",
        "quantize.go",
        "quantize.evaluate",
        "quantize.pause",
        "quantize.cancel",
        "quantize.sort",
        "everywhere.maximize",
        "everywhere.back",
    )
    HELP = (
        "Quantizing reads the 16-bit weights shard by shard and writes a new folder beside them. "
        "The job belongs to the console: leave with 1 to 6, its progress stays in the first line."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("quantize")]

    def __init__(self) -> None:
        super().__init__()
        self._job: JobHandle | None = None
        self._state = QuantizeProgress()
        self._logged = 0
        self._order: WorstOrder = "error"
        self._asked: tuple[Any, ...] = ()
        self._guess: QuantizeEstimate | None = None
        self._problem = ""
        self._beginning = False

    def compose_body(self) -> ComposeResult:
        with Panel(title="Quantize", id="quantize-head"):
            yield JobBar(id="quantize-bar")
        with Horizontal(id="quantize-middle"):
            with Panel(title="Relative error by layer", id="quantize-plot-panel"):
                yield ErrorPlot(id="quantize-plot")
            with Panel(title="Worst matrices", id="quantize-worst"):
                yield RecordTable(COLUMNS, id="quantize-table")
                yield Static(
                    "The matrices that lose most are listed here.", id="quantize-none", classes="quiet"
                )
        with Panel(title="Log", id="quantize-log-panel"):
            yield Log(max_lines=LOG_LINES, id="quantize-log")

    def on_mount(self) -> None:
        self.query_one(RecordTable).focus()
        self.query_one(Log).write_line("The job writes here what it does.")
        job = self.console.jobs.latest("quantize")
        if job is not None:
            self._follow(job)
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        """The elapsed time goes on while no event comes."""
        if self.is_current and self._job is not None and self._job.active:
            self._show_head()

    # which job, or which plan

    def workspace_changed(self, what: str) -> None:
        if what in ("shown", "description", "choice"):
            self._estimate_when_needed()
        self._show()

    def _present(self) -> tuple[ModelEntry, ModelDescription, FitChoice] | None:
        space = self.console.workspace
        if space.entry is None or space.description is None:
            return None
        return space.entry, space.description, space.choice

    def _shows_job(self) -> bool:
        """Whether the job is what is on the screen: it runs, or it was made from the present choice."""
        if self._job is None:
            return False
        present = self._present()
        return self._job.active or present is None or quantize_requests.made_from(self._job, *present[1:])

    def _estimate_when_needed(self) -> None:
        present = self._present()
        if present is None or present[2].bits == 16 or present[1].path is None:
            self._guess = None
        elif (present[1], present[2]) != self._asked:
            self._asked = (present[1], present[2])
            self._guess, self._problem = None, ""
            self._estimate(*self._asked)

    @work(thread=True, exclusive=True, exit_on_error=False, group="quantize-estimate")
    def _estimate(self, about: ModelDescription, choice: FitChoice) -> None:
        try:
            guess = quantize_estimate.estimate(self.console.services, about, choice)
        except Exception as error:  # noqa: BLE001 - becomes a sentence in the panel
            self.post_message(EstimateReady((about, choice), None, sentence(error)))
            return
        self.post_message(EstimateReady((about, choice), guess))

    @on(EstimateReady)
    def _estimated(self, message: EstimateReady) -> None:
        if message.asked == self._asked:
            self._guess, self._problem = message.guess, message.problem
            self._show()

    # the job

    def job_changed(self, message: JobChanged) -> None:
        if message.job.kind == "evaluate":
            self._show()
        if message.job.kind != "quantize":
            return
        if message.job is not self._job:
            self._follow(message.job)
        self._show()

    def job_events(self, message: JobEvents) -> None:
        if message.job is not self._job:
            if message.job.kind == "evaluate" and self.is_current:
                self._show_head()
            return
        for event in message.events:
            self._state.take(event)
        if self.is_current:
            self._show()

    def _follow(self, job: JobHandle) -> None:
        """Show another job from its beginning."""
        self._job = job
        self._state = QuantizeProgress()
        for event in job.history:
            self._state.take(event)
        if job.progress is not None:
            self._state.take(job.progress)
        self._logged = 0
        self.query_one(Log).clear()

    # drawing

    def _show(self) -> None:
        self._show_head()
        job = self._shows_job()
        state = self._state if job else QuantizeProgress()
        about = self.console.workspace.description
        self.query_one(ErrorPlot).show(state.errors_by_layer(), about.layers if about else None)
        self._show_worst(state)
        self._show_log()
        self.refresh_footer()

    def _show_head(self) -> None:
        panel, bar = self.query_one("#quantize-head", Panel), self.query_one(JobBar)
        job = self._job
        if job is None or not self._shows_job():
            panel.border_title, lines = self._plan_lines()
            bar.show(None, "", lines)
        else:
            panel.border_title = f"{job.run_id} · {job.title} · {job.status}"
            state = self._state
            if job.status == "failed":
                bar.show(None, "", quantize_view.failed_lines(job.failure))
            elif job.status == "cancelled":
                assert isinstance(job.request, StartQuantize)  # noqa: S101 - this screen follows no other kind
                bar.show(None, "", quantize_view.cancelled_lines(job.request))
            elif job.status == "done":
                quality = quantize_view.quality_line(
                    quantize_requests.evaluation_of(self.console.jobs, state.written)
                )
                bar.show(None, "", quantize_view.done_lines(state, quality))
            else:
                elapsed = self.console.services.clock() - job.started
                word = quantize_view.bar_word(state, job.status == "paused")
                bar.show(state.fraction, word, quantize_view.running_lines(state, elapsed))

    def _plan_lines(self) -> tuple[str, list[str]]:
        present = self._present()
        if present is None:
            return "Quantize", ["No model is chosen yet. Press 1, choose one and press ⏎."]
        entry, about, choice = present
        if choice.bits == 16:
            return "Quantize", ["16-bit is the model as it is. Press 2 and choose int8, int4 or int3."]
        if about.path is None:
            return "Quantize", ["This model is not on this machine yet. Press 1, then d to download it."]
        title = f"Ready · {quantize_estimate.title_of(entry, choice)}"
        if self._problem:
            return title, [self._problem]
        if self._guess is None:
            return title, ["Computing what it will do …"]
        return title, [*quantize_estimate.estimate_lines(self._guess, Path.home()), "Press ⏎ to start."]

    def _show_worst(self, state: QuantizeProgress) -> None:
        table = self.query_one(RecordTable)
        worst = state.worst(self._order, MOST_ROWS)
        base = state.plan.plan.group_size if state.plan else None
        rows = [(e.name, quantize_view.worst_cells(e, base, state.plan is not None)) for e in worst]
        table.show_records(rows)
        table.display = bool(worst)
        self.query_one("#quantize-none").display = not worst
        by = "" if self._order == "error" else f" · by {self._order}"
        self.query_one("#quantize-worst", Panel).border_title = f"Worst matrices{by}"
        self._show_reason()

    @on(RecordTable.Highlighted)
    def _show_reason(self) -> None:
        name = self.query_one(RecordTable).current
        event = next((item for item in self._state.matrices if item.name == name), None)
        self.query_one("#quantize-worst", Panel).border_subtitle = event.reason if event else ""

    def _show_log(self) -> None:
        log, lines = self.query_one(Log), self._state.log
        if self._logged < len(lines):
            width = log.size.width
            log.write_lines(
                [part for line in lines[self._logged :] for part in wrapped(log_line(*line), width)]
            )
            self._logged = len(lines)

    # what the operator does

    def footer_entries(self) -> list[tuple[Action, str]]:
        job = self._job if self._shows_job() else None
        status = job.status if job else "ready"
        words = {"ready": "start", "done": "talk to it", "failed": "try again", "cancelled": "resume"}
        running = job is not None and job.active
        shown = {
            "quantize.go": "" if running else words.get(status, ""),
            "quantize.evaluate": "measure" if self._can_evaluate() else "",
            "quantize.pause": ("go on" if status == "paused" else "pause") if running else "",
            "quantize.cancel": "cancel" if running else "",
            "quantize.sort": "sort" if job is not None else "",
        }
        entries = [(item, shown.get(item.id, label)) for item, label in super().footer_entries()]
        return [(item, word) for item, word in entries if word]

    async def action_go(self) -> None:
        job, present = self._job, self._present()
        if job is not None and self._shows_job():
            if job.status == "done":
                self._talk(job)
            elif not job.active and isinstance(job.request, StartQuantize):
                await self._start(out=Path(job.request.out))
        elif present is None:
            self.console.show("models")
        elif present[2].bits == 16 or present[1].path is None:
            self.console.show("fit")
        elif self._guess is not None and not self._guess.disk_ok:
            self.notify("There is not enough free disk space for the result.", severity="error")
        elif self._guess is not None:
            await self._start(out=self._guess.out)

    async def _start(self, out: Path) -> None:
        present = self._present()
        if present is None or self._beginning:
            return
        entry, about, choice = present
        begin, preview = self.console.services.begin, self.console.workspace.preview
        make = quantize_requests.quantize_request(begin, about, choice, preview, str(out))
        self._beginning = True
        await self.console.begin_job(make, kind="quantize", title=quantize_estimate.title_of(entry, choice))
        self._beginning = False

    def _can_evaluate(self) -> bool:
        evaluation = quantize_requests.evaluation_of(self.console.jobs, self._state.written)
        idle = evaluation is None or not evaluation.active
        return self._shows_job() and self._state.written is not None and idle

    async def action_evaluate(self) -> None:
        job, written = self._job, self._state.written
        if self._can_evaluate() and job is not None and written is not None:
            assert isinstance(job.request, StartQuantize)  # noqa: S101 - this screen follows no other kind
            make = quantize_requests.evaluate_request(self.console.services.begin, job.request, written)
            await self.console.begin_job(make, kind="evaluate", title=f"measuring {job.title}")

    def _talk(self, job: JobHandle) -> None:
        written, space = self._state.written, self.console.workspace
        if isinstance(job.request, StartQuantize) and written is not None:
            choice = quantize_requests.session_on(
                job.request, written, space.description, space.choice.context
            )
            self.post_message(SessionWanted(choice))

    async def action_pause(self) -> None:
        if self._job is not None and self._job.active:
            await self._job.pause_or_go_on()

    def action_cancel(self) -> None:
        job = self._job
        if job is None or not job.active:
            return

        async def answered(answer: str | None) -> None:
            if answer == "go":
                await job.cancel()

        done = formatting.percent(self._state.fraction)
        text = f"{job.title} is {done} done. Finished shards stay for a later resume."
        self.console.push_screen(
            Question("Cancel this job?", text, safe="Go on", go="Cancel the job"), answered
        )

    def action_sort(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._show()
