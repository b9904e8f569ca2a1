"""The Fit screen: what the chosen model needs at each precision and number of GPUs, before loading; and the
plan that a goal comes to.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from fqconsole.app import fit_choices, fit_view, formatting
from fqconsole.app.actions import Action, action, bindings_of
from fqconsole.app.fit_choices import TITLES, ChoiceName
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.messages import (
    FitChanged,
    JobChanged,
    JobEvents,
    PreviewReady,
    SessionWanted,
    StoreReady,
)
from fqconsole.app.model_rows import short_id
from fqconsole.app.planned import Planned, measuring_lines, planned, summary, weights_from
from fqconsole.app.screens.dialogs import Explanation, PickOne, Question
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.store_thread import sentence
from fqconsole.app.visible_text import one_line
from fqconsole.app.widgets.choice_list import ChoiceList, ChoiceRow
from fqconsole.app.widgets.frontier_plot import FrontierPlot
from fqconsole.app.widgets.memory_breakdown import MemoryBreakdown
from fqconsole.app.widgets.option_table import OptionTable
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.workspace import FitChoice, SessionChoice
from fqconsole.jobs.messages import ProbeDone, StartPlan, StartProbe
from fqconsole.models.description import ModelDescription

if TYPE_CHECKING:
    from store import MemoryPair

THIS_MACHINE = "this machine"


class PreviewFailed(Message):
    """The preview can't be computed; a sentence says why."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


class FitScreen(ModeScreen):
    """Asks for a preview with every change and draws the one that the workspace holds."""

    MODE = "fit"
    FOOTER = (
        "everywhere.help",
        "fit.go",
        "fit.cancel",
        "fit.explain",
        "fit.simulate",
        "fit.sixteen",
        "fit.probe",
        "everywhere.back",
    )
    HELP = (
        "What the model needs in memory, per GPU, against what is free. ✓ fits · ! tight: fits, but under "
        "the safety margin · ✗ does not fit. Up and down choose a row of the plan, left and right change "
        "it. Goal: one width for all matrices, or a plan by bits per weight, by what fits, or by the loss. "
        "Widths: what a plan may give a matrix; engines run 4, 8 and 16. Head: the output head in 8 or 4 "
        "bits; one that is tied to the embedding is packed as a copy: a token reads less, and the model "
        "gets larger. Experts: the routed experts of the whole model share one scheme, or those of each "
        "layer have their own, which transformers alone can't read. p measures in ten seconds what can't be "
        "computed: the worker's own memory, the bandwidth."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("fit")]

    def __init__(self) -> None:
        super().__init__()
        self._asked: tuple[Any, ...] = ()
        self._history: dict[int, MemoryPair] = {}  # what was measured last of this model, by bits

    def compose_body(self) -> ComposeResult:
        yield Static(
            "No model is chosen yet. Press 1, choose one and press ⏎.", id="fit-empty", classes="empty"
        )
        with Horizontal(id="fit-top"):
            with Panel(title="Plan", id="fit-plan"):
                yield ChoiceList(start="precision", help=self.HELP, id="fit-choices")
                yield Static(id="fit-limits", markup=False)
            with Panel(title="Memory", id="fit-memory"):
                yield MemoryBreakdown(id="fit-terms")
        with Panel(title="Size against predicted loss", id="fit-frontier-panel"):
            yield FrontierPlot(id="fit-frontier")
        with Panel(title="Every option", id="fit-options"):
            yield OptionTable(id="fit-table")

    def on_mount(self) -> None:
        self.query_one(ChoiceList).focus()

    # asking

    def workspace_changed(self, what: str) -> None:
        if what in ("shown", "description", "choice"):
            self._ask(again=what == "shown")
        if what in ("shown", "description"):
            self._read_history()
        self._show()

    @on(StoreReady)
    def _store_ready(self, message: StoreReady) -> None:
        if not message.problem:
            self._read_history()

    @work(exclusive=True, exit_on_error=False, group="fit-history")
    async def _read_history(self) -> None:
        about = self.console.workspace.description
        if about is not None:
            pairs = await self.console.store.call(lambda store: store.memory_history())
            self._history = fit_view.latest_by_bits(pairs, about.id)
            self._show()

    def job_changed(self, message: JobChanged) -> None:
        """What a measurement found changes every answer."""
        if message.job.kind in ("plan", "probe"):
            if not message.job.active:
                self._ask(again=True)
            self._show()

    def job_events(self, message: JobEvents) -> None:
        for event in message.events:
            if isinstance(event, ProbeDone):
                self._keep_probe(event.probe)
        if message.job.kind in ("plan", "probe") and self.is_current:
            self._show()

    @work(thread=True, exit_on_error=False, group="fit-probe")
    def _keep_probe(self, probe: Any) -> None:
        self.console.services.keep_probe(probe)
        self.console.call_later(self._ask, again=True)

    def _ask(self, *, again: bool) -> None:
        """Compute the preview of the present choice in a thread, unless that is what was asked last."""
        space = self.console.workspace
        question = (space.description, space.choice)
        if space.description is None or (question == self._asked and not again):
            return
        self._asked = question
        self._compute(space.description, space.choice, self.console.gpus.latest)

    @work(thread=True, exclusive=True, exit_on_error=False, group="fit")
    def _compute(self, about: ModelDescription, choice: FitChoice, readings: tuple[Any, ...]) -> None:
        services, worker = self.console.services, get_current_worker()
        try:
            named = services.named_capacities()[choice.gpu_name] if choice.gpu_name else None
            capacity = named or services.capacity_here(readings)
            preview = services.preview(
                about,
                capacity,
                bits=fit_choices.PRECISIONS,
                gpu_counts=(1,) if fit_view.on_host(capacity) else fit_choices.GPU_COUNTS,
                context=choice.context,
                batch=choice.batch,
                group_size=choice.group_size,
                kv_bits=choice.kv_bits,
                head=choice.head,
            )
            parts = services.parts(about)
            made = planned(services, about, choice, preview)
        except Exception as error:  # noqa: BLE001 - becomes a sentence in the panel
            self.post_message(PreviewFailed(sentence(error)))
            return
        if not worker.is_cancelled:  # another choice was made meanwhile: its answer must not be overwritten
            self.post_message(PreviewReady(preview, made, parts))

    @on(PreviewFailed)
    def _failed(self, message: PreviewFailed) -> None:
        self.query_one(MemoryBreakdown).show_problem(message.problem)

    # drawing

    def _show(self) -> None:
        space = self.console.workspace
        about, preview = space.description, space.preview
        self.query_one("#fit-empty").display = about is None
        self.query_one("#fit-top").display = about is not None
        self.query_one("#fit-options").visible = about is not None
        self.query_one("#fit-frontier-panel").display = about is not None and space.choice.goal != "rule"
        self.set_class(space.choice.goal != "rule", "-planning")
        if about is None or space.entry is None:
            return
        self.query_one("#fit-plan", Panel).name_it(f"Plan · {one_line(short_id(space.entry))}")
        self.query_one(ChoiceList).show(self._choice_rows(about, space.choice, preview))
        if preview is not None:
            self._show_preview(about, preview, space.choice, space.planned)
        self._show_plan(about, space.planned)
        self.refresh_footer()

    def _choice_rows(self, about: ModelDescription, choice: FitChoice, preview: Any) -> list[ChoiceRow]:
        host = preview is not None and fit_view.on_host(preview.capacity)
        devices = 0 if choice.gpu_name else len(self.console.gpus.latest)
        option = fit_view.present(preview, choice, self.console.workspace.planned)
        rows = []
        for name in fit_choices.names_of(choice, self.console.workspace.parts):
            value, hint = fit_choices.shown(choice, name, about, host=host, devices=devices, option=option)
            rows.append(ChoiceRow(name, TITLES[name], value, hint))
        return rows

    def _show_preview(
        self, about: ModelDescription, preview: Any, choice: FitChoice, made: Planned | None
    ) -> None:
        option = fit_view.present(preview, choice, made)
        panel = self.query_one("#fit-memory", Panel)
        panel.border_title = fit_view.capacity_title(preview.capacity)
        self.query_one(MemoryBreakdown).show(option, preview.capacity)
        bits = choice.bits if choice.goal == "rule" else 0
        self.query_one(OptionTable).show(preview, bits, choice.gpus, self._history)
        self.query_one("#fit-limits", Static).update("\n".join(fit_view.limit_lines(preview, option)))
        context = f"context {formatting.tokens(preview.context)}, batch {preview.batch}"
        options = self.query_one("#fit-options", Panel)
        head = f", head {formatting.precision(choice.head)}" if choice.head != 16 else ""
        options.border_title = f"Every option at {context}{head}"
        options.border_subtitle = fit_view.next_words(about, choice, option) if choice.goal == "rule" else ""

    def _show_plan(self, about: ModelDescription, made: Planned | None) -> None:
        """The plan of a goal, how far its measurement is, or what it needs first."""
        panel, plot = self.query_one("#fit-frontier-panel", Panel), self.query_one(FrontierPlot)
        job = self._measuring()
        panel.border_title, panel.border_subtitle = "Size against predicted loss", ""
        if job is not None:
            plot.show(None, fit_view.measuring_now(job.progress))
        elif made is None:
            plot.show(None, ["The plan is being computed …"])
        elif made.state == "unmeasured":
            plot.show(None, [*self._why_not_measured(), *measuring_lines(about)])
        elif made.problem:
            plot.show(made, [made.problem])
        else:
            plot.show(made)
            panel.border_title = summary(made)
            panel.border_subtitle = "⏎ shows what quantizing it takes; nothing starts yet"

    def _measurement(self) -> JobHandle | None:
        """The last measurement of this model."""
        about, job = self.console.workspace.description, self.console.jobs.latest("plan")
        if job is None or about is None or not isinstance(job.request, StartPlan):
            return None
        return job if job.request.model_path == about.path else None

    def _measuring(self) -> JobHandle | None:
        job = self._measurement()
        return job if job is not None and job.active else None

    def _why_not_measured(self) -> list[str]:
        job = self._measurement()
        return [f"✗ {job.failure.what} {job.failure.next_step}".strip()] if job and job.failure else []

    # what the operator does

    def footer_entries(self) -> list[tuple[Action, str]]:
        space = self.console.workspace
        if space.description is None:
            ids = ("everywhere.help", "fit.go", "everywhere.palette", "everywhere.back")
            return [(action(name), "choose" if name == "fit.go" else action(name).label) for name in ids]
        go = fit_view.go_word(space.description, space.choice, space.planned)
        words = {
            "fit.go": "" if self._measuring() else go,
            "fit.cancel": "cancel" if self._under_way() else "",
            "fit.probe": "" if self._under_way() else "probe",
        }
        entries = [(item, words.get(item.id, label)) for item, label in super().footer_entries()]
        return [(item, word) for item, word in entries if word]

    @on(ChoiceList.Stepped)
    def _step(self, message: ChoiceList.Stepped) -> None:
        space = self.console.workspace
        if space.description is None:
            return
        name: ChoiceName = message.name  # type: ignore[assignment]
        host = space.preview is not None and fit_view.on_host(space.preview.capacity)
        choice = fit_choices.stepped(space.choice, name, message.step, space.description, host=host)
        if choice != space.choice:
            self.post_message(FitChanged(choice))

    def action_explain(self) -> None:
        space = self.console.workspace
        option = fit_view.present(space.preview, space.choice, space.planned)
        if option is None:
            return
        title = f"{formatting.precision(option.bits)} on {space.preview.capacity.name}"
        self.console.push_screen(Explanation(title, fit_view.explanation(option, space.preview.capacity)))

    def action_simulate(self) -> None:
        names = [THIS_MACHINE, *self.console.services.named_capacities()]
        self.console.push_screen(PickOne("What would fit on …", names), self._simulate)

    def _simulate(self, name: str | None) -> None:
        if name:
            chosen = None if name == THIS_MACHINE else name
            self.post_message(FitChanged(replace(self.console.workspace.choice, gpu_name=chosen)))

    async def action_go(self) -> None:
        space = self.console.workspace
        about, choice, made = space.description, space.choice, space.planned
        if about is None:
            self.console.show("models")
        elif choice.goal == "rule" and choice.bits == 16:
            self.action_sixteen()
        elif about.path is None:
            self.notify(weights_from(about), title="There are no weights to go on with")
        elif choice.goal == "rule" or (made is not None and made.quantizes):
            self.console.show("quantize")
        elif self._measuring() is not None:
            self.notify("It is being measured; the plan stands here when that is done.")
        elif made is not None and made.state == "unmeasured":
            await self._measure(about, choice)
        elif made is not None and made.state == "ready":
            self.action_sixteen()

    async def _measure(self, about: ModelDescription, choice: FitChoice) -> None:
        """Start the job that goals are answered from."""
        request = StartPlan(model_id=about.id, model_path=str(about.path), mode=choice.mode)
        await self.console.jobs.start(request, kind="plan", title=f"measuring {about.id}")

    def _under_way(self) -> list[JobHandle]:
        """Measurements and probes that run."""
        return [job for job in self.console.jobs.active if job.kind in ("plan", "probe")]

    async def action_cancel(self) -> None:
        for job in self._under_way():
            await job.cancel()

    async def action_probe(self) -> None:
        """Measure what a process takes on this device; another job would be measured with it."""
        busy = next(iter(self.console.jobs.active), None)
        if busy is not None:
            self.notify(f"{busy.title} is under way, and a probe needs a quiet machine.", severity="warning")
            return
        self.notify("Measuring the worker's own memory and the bandwidth: about ten seconds.")
        await self.console.jobs.start(StartProbe(), kind="probe", title="probe", unasked=True)

    def action_sixteen(self) -> None:
        space = self.console.workspace
        about, entry = space.description, space.entry
        if about is None or entry is None or about.path is None:
            self.notify("Choose a model that is on this machine.", severity="warning")
            return
        session = SessionChoice(
            path=about.path,
            model_id=about.id,
            label=f"{short_id(entry)} 16-bit",
            suggested_prompt=about.suggested_prompt or "",
            context=space.choice.context,
            kv_bits=space.choice.kv_bits,
            gpus=space.gpus_chosen,
        )
        option = fit_view.chosen(space.preview, 16, space.choice.gpus) if space.preview else None
        if option is None or option.verdict == "fits" or space.choice.gpu_name:
            self.post_message(SessionWanted(session))
            return

        def answered(answer: str | None) -> None:
            if answer == "go":
                self.post_message(SessionWanted(session))

        text = f"{fit_view.verdict_line(option)}. Loading it may run out of memory."
        question = Question("16-bit may be too large", text, safe="Cancel", go="Load it anyway")
        self.console.push_screen(question, answered)
