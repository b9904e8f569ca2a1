"""The Fit screen: what the chosen model needs at each precision and number of GPUs, before loading."""

from dataclasses import replace
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from fqconsole.app import fit_choices, fit_view, formatting
from fqconsole.app.actions import Action, bindings_of
from fqconsole.app.fit_choices import NAMES, TITLES, ChoiceName
from fqconsole.app.messages import FitChanged, PreviewReady, SessionWanted
from fqconsole.app.model_rows import short_id
from fqconsole.app.screens.dialogs import Explanation, PickOne, Question
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.store_thread import sentence
from fqconsole.app.widgets.choice_list import ChoiceList, ChoiceRow
from fqconsole.app.widgets.memory_breakdown import MemoryBreakdown
from fqconsole.app.widgets.option_table import OptionTable
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.workspace import FitChoice, SessionChoice
from fqconsole.models.description import ModelDescription

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
        "fit.explain",
        "fit.simulate",
        "fit.sixteen",
        "everywhere.back",
        "everywhere.palette",
    )
    HELP = (
        "What the model needs in memory, per GPU, against what is free. ✓ fits · ! tight: fits, but under "
        "the safety margin · ✗ does not fit. Up and down choose a row of the plan, left and right change it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("fit")]

    def __init__(self) -> None:
        super().__init__()
        self._asked: tuple[Any, ...] = ()

    def compose_body(self) -> ComposeResult:
        yield Static(
            "No model is chosen yet. Press 1, choose one and press ⏎.", id="fit-empty", classes="empty"
        )
        with Horizontal(id="fit-top"):
            with Panel(title="Plan", id="fit-plan"):
                yield Static(id="fit-model", markup=False)
                yield ChoiceList(id="fit-choices")
                yield Static(id="fit-limits", markup=False)
            with Panel(title="Memory", id="fit-memory"):
                yield MemoryBreakdown(id="fit-terms")
        with Panel(title="Every option", id="fit-options"):
            yield OptionTable(id="fit-table")

    def on_mount(self) -> None:
        self.query_one(ChoiceList).focus()

    # asking

    def workspace_changed(self, what: str) -> None:
        if what in ("shown", "description", "choice"):
            self._ask(again=what == "shown")
        self._show()

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
        services = self.console.services
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
            )
        except Exception as error:  # noqa: BLE001 - becomes a sentence in the panel
            self.post_message(PreviewFailed(sentence(error)))
            return
        self.post_message(PreviewReady(preview))

    @on(PreviewFailed)
    def _failed(self, message: PreviewFailed) -> None:
        self.query_one(MemoryBreakdown).show_problem(message.problem)

    # drawing

    def _show(self) -> None:
        space = self.console.workspace
        about, preview = space.description, space.preview
        self.query_one("#fit-empty").display = about is None
        self.query_one("#fit-top").display = about is not None
        self.query_one("#fit-options").display = about is not None
        if about is None or space.entry is None:
            return
        self.query_one("#fit-model", Static).update(f"{'Model':<10}{short_id(space.entry)}")
        self.query_one(ChoiceList).show(self._choice_rows(about, space.choice, preview))
        if preview is not None:
            self._show_preview(preview, space.choice)
        self.refresh_footer()

    def _choice_rows(self, about: ModelDescription, choice: FitChoice, preview: Any) -> list[ChoiceRow]:
        host = preview is not None and fit_view.on_host(preview.capacity)
        devices = 0 if choice.gpu_name else len(self.console.gpus.latest)
        rows = []
        for name in NAMES:
            value, hint = fit_choices.shown(choice, name, about, host=host, devices=devices)
            rows.append(ChoiceRow(name, TITLES[name], value, hint))
        return rows

    def _show_preview(self, preview: Any, choice: FitChoice) -> None:
        option = fit_view.chosen(preview, choice.bits, choice.gpus)
        self.query_one("#fit-memory", Panel).border_title = fit_view.capacity_title(preview.capacity)
        self.query_one(MemoryBreakdown).show(option, preview.capacity)
        self.query_one(OptionTable).show(preview, choice.bits, choice.gpus)
        self.query_one("#fit-limits", Static).update("\n".join(fit_view.limit_lines(preview, option)))
        context = f"context {formatting.tokens(preview.context)}, batch {preview.batch}"
        self.query_one("#fit-options", Panel).border_title = f"Every option at {context}"

    # what the operator does

    def footer_entries(self) -> list[tuple[Action, str]]:
        sixteen = self.console.workspace.choice.bits == 16
        entries = super().footer_entries()
        return [(item, "talk" if sixteen and item.id == "fit.go" else label) for item, label in entries]

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
        if space.preview is None:
            return
        option = fit_view.chosen(space.preview, space.choice.bits, space.choice.gpus)
        title = f"{formatting.precision(option.bits)} on {space.preview.capacity.name}"
        self.console.push_screen(Explanation(title, fit_view.explanation(option, space.preview.capacity)))

    def action_simulate(self) -> None:
        names = [THIS_MACHINE, *self.console.services.named_capacities()]
        self.console.push_screen(PickOne("What would fit on …", names), self._simulate)

    def _simulate(self, name: str | None) -> None:
        if name:
            chosen = None if name == THIS_MACHINE else name
            self.post_message(FitChanged(replace(self.console.workspace.choice, gpu_name=chosen)))

    def action_go(self) -> None:
        space = self.console.workspace
        if space.description is None:
            self.console.show("models")
        elif space.choice.bits == 16:
            self.action_sixteen()
        elif space.description.path is None:
            self.notify("Go back with Esc and press d to download it.", title="This model is not here yet")
        else:
            self.console.show("quantize")

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
