"""The Quantize screen: what the job will do and cost, then the job itself, live."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message

from fqconsole.app import formatting, quantize_estimate, quantize_requests, quantize_view
from fqconsole.app.actions import Action, bindings_of
from fqconsole.app.job_pace import Pace, paces
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.messages import JobChanged, JobEvents, SessionWanted, StoreReady
from fqconsole.app.planned import Planned
from fqconsole.app.quantize_estimate import QuantizeEstimate
from fqconsole.app.quantize_progress import WORST_ORDERS, QuantizeProgress, WorstOrder, phases_of
from fqconsole.app.quantize_view import Promised
from fqconsole.app.screens.dialogs import PickOne, Question
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.store_thread import sentence
from fqconsole.app.unfinished import Unfinished
from fqconsole.app.visible_text import one_line
from fqconsole.app.widgets.job_bar import JobBar
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.quantize_board import QuantizeBoard
from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.app.workspace import FitChoice
from fqconsole.jobs.messages import Request, StartQuantize
from fqconsole.models.description import ModelDescription, ModelEntry


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
        "quantize.resume",
        "quantize.sort",
        "quantize.view",
        "everywhere.maximize",
        "everywhere.back",
    )
    HELP = (
        "Quantizing reads the 16-bit weights shard by shard and writes a new folder beside them. "
        "The job belongs to the console: leave with 1 to 6, its progress stays in the first line. w turns "
        "between the map of bits, the errors and the plot; m lets a panel fill the screen."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("quantize")]

    def __init__(self) -> None:
        super().__init__()
        self._job: JobHandle | None = None
        self._state = QuantizeProgress()
        self._promised: Promised | None = None
        self._kept = False  # the job stays on the screen until the operator chooses something else
        self._order: WorstOrder = "error"
        self._asked: tuple[Any, ...] = ()
        self._guess: QuantizeEstimate | None = None
        self._problem = ""
        self._beginning = False
        self._paces: list[Pace] = []
        self._unfinished: list[Unfinished] = []

    def compose_body(self) -> ComposeResult:
        with Panel(title="Quantize", id="quantize-head"):
            yield JobBar(id="quantize-bar")
        yield QuantizeBoard(id="quantize-board")

    def on_mount(self) -> None:
        self.query_one(RecordTable).focus()
        job = self.console.jobs.latest("quantize")
        if job is not None:
            self._follow(job)
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        """The elapsed time goes on while no event comes."""
        if self.is_current and self._job is not None and self._job.active:
            self._show_head()

    # what earlier runs tell

    @on(StoreReady)
    def _store_ready(self, message: StoreReady) -> None:
        if not message.problem:
            self._read_runs()

    @work(exclusive=True, exit_on_error=False, group="quantize-runs")
    async def _read_runs(self) -> None:
        self._paces = await self.console.store.call(paces)
        self._unfinished = await self.console.store.call(self.console.services.unfinished)
        self._show_head()
        self.refresh_footer()

    # which job, or which plan

    def workspace_changed(self, what: str) -> None:
        if what in ("description", "choice"):
            self._kept = False
        if what == "shown":
            self._read_runs()
        if what in ("shown", "description", "choice", "preview"):
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
        if self._job.active or self._kept or present is None:
            return True
        return quantize_requests.made_from(self._job, *present[1:], self._guess)

    def _nothing_to_do(self) -> str:
        """Why there is nothing to quantize with the present choice; empty where there is."""
        space = self.console.workspace
        return quantize_view.nothing_to_do(space.description, space.choice, space.planned)

    def _estimate_when_needed(self) -> None:
        present = self._present()
        if present is None or self._nothing_to_do():
            self._guess, self._asked = None, ()
            return
        made = self.console.workspace.planned if present[2].goal != "rule" else None
        # Of a goal only its plan counts: its memory is told anew whenever what is free changes.
        asked = (present[1], present[2], made.plan if made is not None else None)
        if asked != self._asked:
            self._asked = asked
            self._guess, self._problem = None, ""
            self._estimate(asked, made)

    @work(thread=True, exclusive=True, exit_on_error=False, group="quantize-estimate")
    def _estimate(self, asked: tuple[Any, ...], made: Planned | None) -> None:
        try:
            guess = quantize_estimate.estimate(self.console.services, asked[0], asked[1], made)
        except Exception as error:  # noqa: BLE001 - becomes a sentence in the panel
            self.post_message(EstimateReady(asked, None, sentence(error)))
            return
        self.post_message(EstimateReady(asked, guess))

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
        if message.job.ended is not None:
            self._read_runs()
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
        self._job, self._kept = job, True
        self._state = QuantizeProgress(phases_of(job.request))
        self._promised = quantize_view.promised_by(self.console.workspace.preview)
        for event in job.history:
            self._state.take(event)
        if job.progress is not None:
            self._state.take(job.progress)
        self.query_one(QuantizeBoard).clear_log()

    # drawing

    def _show(self) -> None:
        self._show_head()
        board, about = self.query_one(QuantizeBoard), self.console.workspace.description
        layers = about.layers if about else None
        if self._shows_job():
            board.show_job(self._state, layers, quantize_requests.draft_of(self._job, self._guess))
        else:
            board.show_plan(self._guess, self.console.workspace.planned, layers)
        self.refresh_footer()

    def _show_head(self) -> None:
        panel, bar = self.query_one("#quantize-head", Panel), self.query_one(JobBar)
        job, state = self._job, self._state
        panel.border_subtitle = ""
        if job is None or not self._shows_job():
            title, lines = self._plan_lines()
            panel.border_title = Content(one_line(title))
            bar.show(None, "", lines)
            return
        panel.border_title = Content(f"{job.run_id} · {one_line(job.title)} · {job.status}")
        match job.status:
            case "failed":
                bar.show(None, "", quantize_view.failed_lines(job.failure))
            case "cancelled":
                assert isinstance(job.request, StartQuantize)  # noqa: S101 - this screen follows no other kind
                bar.show(None, "", quantize_view.cancelled_lines(job.request))
            case "done":
                evaluation = quantize_requests.evaluation_of(self.console.jobs, state.written)
                bar.show(None, "", quantize_view.done_lines(state, quantize_view.quality_line(evaluation)))
            case _:
                panel.border_subtitle = quantize_view.now_at(state)
                elapsed = self.console.services.clock() - job.started
                word = quantize_view.bar_word(state, job.status == "paused")
                bar.show(state.fraction, word, quantize_view.running_lines(state, elapsed, self._promised))

    def _plan_lines(self) -> tuple[str, list[str]]:
        present, nothing = self._present(), self._nothing_to_do()
        again = f"r goes on with {self._unfinished[0].run_id}, which did not end." if self._unfinished else ""
        if nothing or present is None:
            return "Quantize", [nothing, *([again] if again else [])]
        entry, _about, choice = present
        title = f"Ready · {quantize_estimate.title_of(entry, choice)}"
        if self._problem:
            return title, [self._problem]
        if self._guess is None:
            return title, ["Computing what it will do …"]
        preview = self.console.workspace.preview
        lines = quantize_estimate.estimate_lines(self._guess, Path.home(), self._paces, preview)
        return title, [*lines, f"{quantize_estimate.go_words(self._guess)} {again}".strip()]

    # what the operator does

    def footer_entries(self) -> list[tuple[Action, str]]:
        job = self._job if self._shows_job() else None
        status = job.status if job else "" if self._nothing_to_do() else "ready"
        words = {"ready": "start", "done": "talk to it", "failed": "try again", "cancelled": "resume"}
        running = job is not None and job.active
        shown = {
            "quantize.go": "" if running else words.get(status, "choose"),
            "quantize.evaluate": "measure" if self._can_evaluate() else "",
            "quantize.pause": ("go on" if status == "paused" else "pause") if running else "",
            "quantize.cancel": "cancel" if running else "",
            "quantize.resume": "resume" if self._unfinished and job is None else "",
            "quantize.sort": "sort" if job is not None else "",
            "quantize.view": self.query_one(QuantizeBoard).next_look if self.is_mounted else "view",
        }
        entries = [(item, shown.get(item.id, label)) for item, label in super().footer_entries()]
        return [(item, word) for item, word in entries if word]

    async def action_go(self) -> None:
        job, present = self._job, self._present()
        if job is not None and self._shows_job():
            if job.status == "done":
                self._talk(job)
            elif not job.active and isinstance(job.request, StartQuantize):
                await self._again(job)
        elif present is None:
            self.console.show("models")
        elif self._nothing_to_do():
            self.console.show("fit")
        elif self._guess is not None and not self._guess.disk_ok:
            self.notify("There is not enough free disk space for the result.", severity="error")
        elif self._guess is not None:
            await self._ask_and_start(self._guess)

    async def _ask_and_start(self, guess: QuantizeEstimate) -> None:
        """Start; where the memory is predicted not to do, only after a question."""
        short = quantize_estimate.short_of_memory(self.console.workspace.preview)
        if not short:
            await self._start(guess)
            return

        async def answered(answer: str | None) -> None:
            if answer == "go":
                await self._start(guess)

        question = Question("There may be too little memory", short, safe="Cancel", go="Start it anyway")
        self.console.push_screen(question, answered)

    async def _start(self, guess: QuantizeEstimate) -> None:
        present = self._present()
        if present is None or self._beginning:
            return
        entry, about, choice = present
        make = quantize_requests.quantize_request(
            self.console.services.begin,
            about,
            choice,
            preview=self.console.workspace.preview,
            guess=guess,
            out=str(guess.out),
        )
        await self._begin(make, quantize_estimate.title_of(entry, choice))

    async def _again(self, job: JobHandle) -> None:
        """The same request into the same folder: what is finished there stays."""
        assert isinstance(job.request, StartQuantize)  # noqa: S101 - callers looked
        preview = self.console.workspace.preview
        make = quantize_requests.again_request(self.console.services.begin, job.request, preview)
        await self._begin(make, job.title)

    async def _begin(self, make: Callable[[Any], Request], title: str) -> None:
        if self._beginning:
            return
        self._beginning = True
        await self.console.begin_job(make, kind="quantize", title=title)
        self._beginning = False

    def action_resume(self) -> None:
        """Go on with a run that did not end; which one is asked, with how much of it is kept."""
        if self._job is not None and self._job.active:
            self.notify("One job at a time: this one still runs.", severity="warning")
            return
        if not self._unfinished:
            self.notify("No run is waiting to be gone on with.")
            return
        now = self.console.services.clock()
        runs = {run.line(now): run for run in self._unfinished}

        async def answered(line: str | None) -> None:
            if line:
                begin, run = self.console.services.begin, runs[line]
                await self._begin(quantize_requests.resume_request(begin, run), run.title)

        self.console.push_screen(PickOne("Go on with …", list(runs)), answered)

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
            choice = quantize_requests.session_on(job.request, written, space)
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
        self._order = WORST_ORDERS[(WORST_ORDERS.index(self._order) + 1) % len(WORST_ORDERS)]
        self.query_one(QuantizeBoard).sort(self._order)
        self._show()

    def action_view(self) -> None:
        self.query_one(QuantizeBoard).turn()
        self.refresh_footer()
