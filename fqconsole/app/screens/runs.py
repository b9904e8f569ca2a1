"""The Runs screen: everything that was ever done, to find, compare, annotate and go on from."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType

from fqconsole.app.actions import Action, action, bindings_of
from fqconsole.app.messages import FitChanged, JobChanged, JobEvents, ModelChosen, SessionWanted
from fqconsole.app.run_again import next_step
from fqconsole.app.run_export import FORMATS, write_export
from fqconsole.app.run_rows import plotted, short_model
from fqconsole.app.screens.dialogs import PickOne, Question
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.screens.run_dialogs import NoteDialog, OutputsDialog
from fqconsole.app.store_thread import sentence
from fqconsole.app.stored_answer import stored_answers
from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.app.widgets.run_list import RunList
from fqconsole.app.widgets.run_panel import RunPanel
from fqconsole.jobs.messages import EvaluationDone, GenerationDone, JobDone, JobFailed

if TYPE_CHECKING:
    from store import RunRow, Store

NOTHING = "What is known of a run stands here."


class RunsScreen(ModeScreen):
    """Reads pages of rows in the store's thread; the panel below follows the cursor and the marks."""

    MODE = "runs"
    AUTO_FOCUS = "#runs-table"  # never the filter: keys would be written into it
    FOOTER = (
        "everywhere.help",
        "runs.again",
        "runs.mark",
        "runs.baseline",
        "runs.outputs",
        "runs.export",
        "runs.plot",
        "runs.delete",
    )
    HELP = (
        "Every quantizing, answer, measurement and download is a run. Space marks runs (●); marked ones are "
        "compared below, against the baseline (◆) of their model where there is one. The filter takes terms "
        "that must all hold: bits<=4, model:qwen, kind:generate, status:done, ppl<12, tag:demo, age<7d; a "
        "minus before a term turns it round, other words are looked for in prompts, answers and notes. GiB "
        "is the peak memory that was measured, vs plan how far that lies from what the preview promised."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("runs")]

    def __init__(self) -> None:
        super().__init__()
        self._marks: list[str] = []  # in the order of marking
        self._everything = False
        self._details = False

    def compose_body(self) -> ComposeResult:
        yield RunList(id="runs-panel")
        yield RunPanel(title="Run", id="runs-detail")

    def on_mount(self) -> None:
        self.query_one(RunPanel).show_nothing(NOTHING)

    @property
    def _list(self) -> RunList:
        return self.query_one(RunList)

    # reading

    def workspace_changed(self, what: str) -> None:
        if what == "shown":
            self._list.read()

    def job_changed(self, message: JobChanged) -> None:
        if self.is_current:
            self._list.read()

    def job_events(self, message: JobEvents) -> None:
        news = (JobDone, JobFailed, GenerationDone, EvaluationDone)
        if self.is_current and any(isinstance(event, news) for event in message.events):
            self._list.read()

    # showing

    @on(RunList.Shown)
    def _list_shown(self) -> None:
        self._show_run()
        self.refresh_footer()

    def _current(self) -> "RunRow | None":
        return self._list.current

    def _compared(self, current: "RunRow") -> list[str]:
        """The runs that the panel compares; fewer than two: it shows the details of one."""
        if self._details:
            return []
        if len(self._marks) >= 2:
            return self._marks
        if self._marks:
            return list(dict.fromkeys([*self._marks, current.run_id]))
        same = (row for row in self._list.rows if (row.model, row.kind) == (current.model, current.kind))
        baseline = next((row.run_id for row in same if row.baseline), current.run_id)
        failed = current.status not in ("done", "running")
        return [] if failed else list(dict.fromkeys([baseline, current.run_id]))

    @work(exclusive=True, group="runs-detail", exit_on_error=False)
    async def _show_run(self) -> None:
        panel, current = self.query_one(RunPanel), self._current()
        if current is None:
            panel.show_nothing(NOTHING)
            return
        compared, everything = self._compared(current), self._everything
        call = self.console.store.call
        try:
            if len(compared) > 1:
                comparison = await call(lambda store: store.compare(compared, everything=everything))
                panel.show_comparison(comparison, everything=everything)
            else:
                panel.show_details(await call(lambda store: store.run(current.run_id)))
        except Exception as error:  # noqa: BLE001 - a run that was deleted meanwhile is a sentence
            panel.show_nothing(sentence(error))

    # finding

    def footer_entries(self) -> list[tuple[Action, str]]:
        if not self._list.rows:
            ids = [
                "everywhere.help",
                "runs.filter",
                "everywhere.models",
                "everywhere.palette",
                "everywhere.quit",
            ]
            return [(action(name), action(name).label) for name in ids]
        return super().footer_entries()

    def action_filter(self) -> None:
        self._list.focus_filter()

    def action_sort(self) -> None:
        self._list.sort_by_next()

    def go_back(self) -> bool:
        if self._list.clear_filter():
            return True
        if self._marks:
            self.action_unmark()
            return True
        return False

    # comparing

    def action_mark(self) -> None:
        current = self._current()
        if current is None:
            return
        if current.run_id in self._marks:
            self._marks.remove(current.run_id)
        else:
            self._marks.append(current.run_id)
        self._list.show_marks(self._marks)
        table = self._list.table
        table.move_to(table.cursor_row + 1)

    def action_unmark(self) -> None:
        self._marks.clear()
        self._list.show_marks(self._marks)

    def action_everything(self) -> None:
        self._everything = not self._everything
        self._show_run()

    def action_details(self) -> None:
        self._details = not self._details
        self._show_run()

    def action_baseline(self) -> None:
        row = self._current()
        if row is not None:
            self._change(lambda store: store.set_baseline(row.run_id, not row.baseline))

    @property
    def _chosen(self) -> list[str]:
        """The marked runs, or the one under the cursor."""
        current = self._current()
        return list(self._marks) or ([current.run_id] if current else [])

    @work(group="runs-outputs", exit_on_error=False)
    async def action_outputs(self) -> None:
        chosen = self._chosen
        try:
            answers = await self.console.store.call(lambda store: stored_answers(store, chosen))
        except Exception as error:  # noqa: BLE001 - as above
            self._say(sentence(error))
            return
        if answers:
            self.console.push_screen(OutputsDialog(answers))
        else:
            self._say("There is no stored answer. Mark runs that generated text, or ⏎ to talk to this one.")

    @work(exclusive=True, group="runs-plot", exit_on_error=False)
    async def action_plot(self) -> None:
        current = self._current()
        if current is None:
            return
        chosen, title = self._marks, f"{len(self._marks)} marked runs"
        if len(chosen) < 2:
            chosen, title = plotted(self._list.rows, current), short_model(current.model)
        try:
            points = await self.console.store.call(lambda store: store.points(chosen))
        except Exception as error:  # noqa: BLE001 - as above
            self._say(sentence(error))
            return
        from fqconsole.app.screens.run_plot import RunPlotDialog

        self.console.push_screen(RunPlotDialog(points, title))

    # keeping in order

    @work(group="runs-change", exit_on_error=False)
    async def _change(self, change: "Callable[[Store], object]") -> None:
        """Change something in the store, then read the list again."""
        try:
            await self.console.store.call(change)
        except Exception as error:  # noqa: BLE001 - a run that still runs can't be deleted: a sentence
            self._say(sentence(error))
        self._list.read()

    def _say(self, words: str) -> None:
        self.notify(words, severity="warning", markup=False)

    def action_note(self) -> None:
        row = self._current()
        if row is None:
            return

        def write(note: str, tags: str) -> None:
            def change(store: "Store") -> None:
                store.set_note(row.run_id, note)
                store.set_tags(row.run_id, tags.replace("#", " ").split())

            self._change(change)

        self.console.push_screen(NoteDialog(row.run_id, row.note, row.tags, write))

    def action_delete(self) -> None:
        chosen = self._chosen
        if not chosen:
            return

        def answered(answer: str | None) -> None:
            if answer == "go":
                self._marks = [run_id for run_id in self._marks if run_id not in chosen]
                self._list.show_marks(self._marks)
                self._change(lambda store: [store.delete_run(run_id) for run_id in chosen])

        what = f"run {chosen[0]}" if len(chosen) == 1 else f"{len(chosen)} runs"
        text = (
            f"Forget {', '.join(chosen[:12])}{' …' if len(chosen) > 12 else ''} and all that was measured? "
        )
        text += "Checkpoints stay on the disk."
        question = Question(f"Delete {what}?", text, safe="Cancel", go="Delete")
        self.console.push_screen(question, answered)

    def action_export(self) -> None:
        chosen = list(self._marks) or [row.run_id for row in self._list.rows]
        if not chosen:
            return
        runs = "run" if len(chosen) == 1 else "runs"
        what = f"{len(chosen)} marked {runs}" if self._marks else f"all {len(chosen)} listed {runs}"

        def picked(form: str | None) -> None:
            if form:
                self._export(chosen, form)

        self.console.push_screen(PickOne(f"Export {what} as …", list(FORMATS)), picked)

    @work(group="runs-export", exit_on_error=False)
    async def _export(self, chosen: list[str], form: str) -> None:
        now = self.console.services.clock()
        try:
            path = await self.console.store.call(lambda store: write_export(store, chosen, form, now=now))
        except Exception as error:  # noqa: BLE001 - a full disk is a sentence
            self._say(sentence(error))
        else:
            self.notify(str(path), title="Written", timeout=20, markup=False)

    # going on

    @on(RecordTable.Opened)
    def _opened(self) -> None:
        self.action_again()

    @work(exclusive=True, group="runs-again", exit_on_error=False)
    async def action_again(self) -> None:
        row, console = self._current(), self.console
        if row is None:
            return
        try:
            run = await console.store.call(lambda store: store.run(row.run_id))
            step = await asyncio.to_thread(next_step, console.services, run, console.workspace.choice)
        except Exception as error:  # noqa: BLE001 - its folder is gone: a sentence says what to do
            self._say(sentence(error))
            return
        if step.session is not None:
            self.post_message(SessionWanted(step.session))
        elif step.entry is not None and step.description is not None:
            self.post_message(ModelChosen(step.entry, step.description))
            if step.choice is not None:
                self.post_message(FitChanged(step.choice))
