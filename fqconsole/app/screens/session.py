"""The Session screen: talk to a model, see its speed, and put its 16-bit original beside it."""

import asyncio
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType

from fqconsole.app import session_choices, session_view
from fqconsole.app.actions import Action, action, bindings_of
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.job_runner import JobHandle
from fqconsole.app.measurement import Measurement
from fqconsole.app.messages import JobChanged, JobEvents, SessionWanted
from fqconsole.app.prompt_history import PromptHistory, stored_prompts
from fqconsole.app.sampling_presets import BUILT_IN, preset_name
from fqconsole.app.screens.sampling_dialog import SamplingDialog
from fqconsole.app.screens.session_compare import ComparingScreen
from fqconsole.app.screens.session_dialogs import PromptFromFile
from fqconsole.app.session_requests import opening_request, predicted_memory
from fqconsole.app.visible_text import one_line
from fqconsole.app.widgets.balance_panel import BalancePanel
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.app.widgets.session_panel import SessionPanel
from fqconsole.app.widgets.transcript import Transcript
from fqconsole.app.workspace import SessionChoice
from fqconsole.generation.options import Sampling

VOTE_FIRST = "Vote first: x, y, t tie, n neither. F12 shows the names without a vote."
NOTHING_LOADED = "No model is loaded. Press 1 and choose one: a quantized one opens here at once."


class SessionScreen(ComparingScreen):
    """Shows a Dialogue and a Measurement; both hold the state, this screen passes keys in and words out."""

    MODE = "session"
    FOOTER = (
        "session.send",
        "session.newline",
        "everywhere.back",
        "session.compare",
        "session.sampling",
        "session.again",
        "session.edit",
        "everywhere.jump",
    )
    HELP = (
        "Write a prompt and press Enter. The model stays loaded between prompts; every answer is a run. "
        "TTFT is the time to the first token, prefill the speed of reading the prompt, decode that of "
        "writing. F2 puts the 16-bit model beside it: the same prompt and seed, one after the other, so that "
        "both speeds are honest; what differs is underlined. F12 does it without names until you have voted. "
        "Below stands what quantizing lost and won; measuring gives way to answers."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("session")]

    def __init__(self) -> None:
        super().__init__()
        self._history = PromptHistory()
        self._latest: SessionChoice | None = None  # what Enter opens while no model is loaded
        self._editing = False
        self._opening = asyncio.Lock()

    def compose_body(self) -> ComposeResult:
        yield SessionPanel(title="Session", id="session-panel")
        yield BalancePanel(title="Lost and won against 16-bit", id="session-balance")
        with Panel(title="Prompt", id="session-write"):
            yield PromptField(id="session-prompt")

    def on_mount(self) -> None:
        console = self.console
        self._dialogue = Dialogue(
            console.jobs,
            console.store,
            console.services.begin,
            before_send=self._make_room,
            predicted=lambda choice: predicted_memory(console.workspace, choice),
        )
        asked = console.settings.session
        self._talk.sampling = Sampling(
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            max_new_tokens=asked.max_new_tokens,
        )
        self._talk.preset = preset_name(self._talk.sampling, BUILT_IN)
        self._recall_earlier()
        self.show_all()

    @work(group="session-history", exit_on_error=False)
    async def _recall_earlier(self) -> None:
        try:
            self._history.remember(await self.console.store.call(stored_prompts))
        except Exception:  # noqa: BLE001 - without a database there are no earlier prompts
            return

    @property
    def _prompt(self) -> PromptField:
        return self.query_one(PromptField)

    # which model

    def workspace_changed(self, what: str) -> None:
        choice = self.console.workspace.session
        if what not in ("shown", "session"):
            return
        if choice is None:
            self._look_for_latest()
        elif choice != self._choice:
            self._open(choice)
        elif what == "shown":
            self._prompt.focus()
        self.show_all()

    @work(exclusive=True, group="session-latest", exit_on_error=False)
    async def _look_for_latest(self) -> None:
        services = self.console.services
        try:
            latest = await self.console.store.call(session_choices.latest_checkpoint)
        except Exception:  # noqa: BLE001 - without a database there is no latest one
            latest = None
        if latest is not None:
            latest = await asyncio.to_thread(session_choices.with_prompt, services, latest)
        self._latest = latest
        self.show_all()

    @work(group="session-open", exit_on_error=False)
    async def _open(self, choice: SessionChoice) -> None:
        before, self._choice = self._choice, choice
        self._prompt.disabled = False
        self._prompt.write(choice.suggested_prompt)
        self._prompt.focus()
        self._editing = False
        same_model = before is not None and opening_request(before) == opening_request(choice)
        async with self._opening:
            if self._choice is not choice or (same_model and self._talk.main is not None):
                return
            console = self.console
            services = console.services
            built_in = choice.model_id in services.summaries()
            measurement = Measurement(choice, console.jobs, console.store, services.begin, by_itself=built_in)
            self._measurement = measurement
            await self._talk.open(choice)
            self.show_all()
            await measurement.look_up()
        self.show_all()

    async def _make_room(self) -> None:
        """Nothing competes with an answer for the device."""
        if self._measurement is not None:
            await self._measurement.hold()

    # jobs

    def job_events(self, message: JobEvents) -> None:
        measured = self._measurement is not None and self._measurement.take(message.job, message.events)
        if message.job.kind == "session":
            votable = self._talk.votable
            if self._talk.take(message.job, message.events):
                self._go_on()
            if self._talk.votable and not votable:
                self.query_one(SessionPanel).transcript.focus()  # its letters vote
                self.call_after_refresh(self._read_from_top)
        if self.is_current and (measured or message.job.kind == "session"):
            self.show_all()

    def _read_from_top(self) -> None:
        for transcript in self.query(Transcript):
            transcript.read_from_top()

    def job_changed(self, message: JobChanged) -> None:
        if message.job.kind == "session":
            self._talk.job_changed(message.job)
            self._go_on()
        elif self._measurement is not None:
            self._measurement.job_changed(message.job)
        self.show_all()

    @work(group="session-step", exit_on_error=False)
    async def _go_on(self) -> None:
        """The next question, or when there is none, what waited for the device."""
        await self._talk.advance()
        measurement = self._measurement
        if measurement is not None and not self._talk.busy:
            if measurement.state == "held":
                await measurement.go_on()
            elif self._measures_by_itself(measurement):
                await measurement.start(unasked=True)
        self.show_all()

    def _measures_by_itself(self, measurement: Measurement) -> bool:
        """After the first answer, once, where nothing else runs."""
        return (
            measurement.by_itself
            and measurement.looked_up
            and measurement.possible
            and measurement.state == "none"
            and not measurement.active
            and self._talk.latest("a") is not None
            and not any(job.kind != "session" for job in self.console.jobs.active)
        )

    # showing

    def show_all(self) -> None:
        talk, panel = self._talk, self.query_one(SessionPanel)
        self.set_class(talk.comparing, "-comparing")
        self._prompt.disabled = self._choice is None
        if self._choice is None:
            latest = (
                f"\n\n⏎ talks to {one_line(self._latest.label)} again, made last." if self._latest else ""
            )
            panel.show_empty(NOTHING_LOADED + latest)
        else:
            panel.show(talk)
        self.query_one(BalancePanel).show_balance(
            self._measurement, talk, self._votes if talk.comparing else []
        )
        write = self.query_one("#session-write", Panel)
        title = "Prompt · in place of the last" if self._editing else "Prompt"
        write.name_it(title, session_view.settings_words(talk))
        self._prompt.placeholder = "Write the next prompt" if talk.turns else "Write a prompt"
        self.refresh_footer()

    def footer_entries(self) -> list[tuple[Action, str]]:
        if self._choice is None:
            ids = ["everywhere.help", "everywhere.models", "everywhere.palette", "everywhere.quit"]
            entries = [(action(name), action(name).label) for name in ids]
            return [(action("session.send"), "open the latest"), *entries] if self._latest else entries
        talk = self._talk
        if talk.votable:
            ids = ["session.vote_x", "session.vote_y", "session.vote_tie", "session.vote_neither"]
            entries = [(action(name), action(name).label) for name in ids]
            return [*entries, (action("session.blind"), "names"), (action("everywhere.help"), "help")]
        idle = bool(talk.turns) and not talk.busy
        words = {
            "session.send": "try again" if self._failed_to_open else "send",
            "everywhere.back": "stop" if self._stoppable else "back",
            "session.compare": "alone" if talk.comparing else "A/B",
            "session.again": "again" if idle else "",
            "session.edit": "edit" if idle else "",
        }
        entries = [(item, words.get(item.id, label)) for item, label in super().footer_entries()]
        return [(item, word) for item, word in entries if word]

    @property
    def _failed_to_open(self) -> bool:
        main = self._talk.main
        return main is not None and main.state == "failed" and not self._talk.turns

    @property
    def _stoppable(self) -> bool:
        measurement = self._measurement
        return self._talk.busy or (measurement is not None and measurement.active)

    # what the operator does

    def action_send(self) -> None:
        if self._choice is not None:
            # Enter comes here at once, while letters typed just before may still wait for the field.
            self._prompt.call_later(self._send)
        elif self._latest is not None:
            self.post_message(SessionWanted(self._latest))

    def _send(self) -> None:
        text = self._prompt.text
        if not text.strip():
            self._prompt.focus()
            self.notify("Write a prompt first; F5 answers the last one again.")
        elif self._talk.busy:
            self.notify("The answer before is not written yet; esc stops it.")
        elif self._talk.hidden:
            self.notify(VOTE_FIRST)
        else:
            self._prompt.write("")
            self._history.add(text)
            editing, self._editing = self._editing, False
            self._ask(text, in_place_of_last=editing)

    @work(group="session-ask", exit_on_error=False)
    async def _ask(self, text: str, *, in_place_of_last: bool) -> None:
        await self._talk.ask(text, in_place_of_last=in_place_of_last)
        self._go_on()

    def action_newline(self) -> None:
        if self._prompt.has_focus:
            self._prompt.insert("\n")

    @work(group="session-ask", exit_on_error=False)
    async def action_again(self) -> None:
        if self._talk.votable:
            self.notify(VOTE_FIRST)
            return
        await self._talk.again()
        self._go_on()

    def action_edit(self) -> None:
        if self._talk.votable:
            self.notify(VOTE_FIRST)
        elif self._talk.turns and not self._talk.busy:
            self._editing = True
            self._prompt.write(self._talk.turns[-1].prompt)
            self._prompt.focus()
            self.show_all()

    @work(group="session-stop", exit_on_error=False)
    async def action_stop(self) -> None:
        asked = await self._talk.stop()
        if asked and not self._prompt.text:
            self._prompt.write(asked)
        self._go_on()

    def after_vote(self) -> None:
        self._prompt.focus()
        self.show_all()

    def shows_job(self, job: JobHandle) -> bool:
        """The measurement stands here, so that its end needs no note."""
        return self._measurement is not None and self._measurement.follows(job)

    @property
    def hides_names(self) -> bool:
        return self._talk.hidden

    def go_back(self) -> bool:
        """Esc: stop the answer, else the measurement, else leave the prompt, else go back."""
        measurement = self._measurement
        if self._talk.busy:
            self.action_stop()
        elif measurement is not None and measurement.active:
            self.action_measure()
        elif self._editing:
            self._editing = False
            self._prompt.write("")
        elif self._prompt.has_focus:
            self.query_one(SessionPanel).transcript.focus()
        else:
            return False
        self.show_all()
        return True

    def action_system(self) -> None:
        self.action_sampling(system=True)

    def action_sampling(self, *, system: bool = False) -> None:
        talk = self._talk
        template = talk.main is not None and talk.main.has_template

        def use(sampling: Sampling, system: str, preset: str) -> None:
            talk.sampling, talk.system, talk.preset = sampling, system, preset
            self.show_all()

        prompt = talk.system if template else None
        self.console.push_screen(SamplingDialog(talk.sampling, prompt, use, at_system=system))

    def action_from_file(self) -> None:
        if self._choice is not None:
            self.console.push_screen(PromptFromFile(self._prompt.write))

    @on(PromptField.Recalled)
    def _recall(self, message: PromptField.Recalled) -> None:
        field = self._prompt
        text = self._history.older(field.text) if message.step < 0 else self._history.newer()
        if text is not None:
            field.write(text)
            if message.step < 0:  # so that up goes on to the one before
                field.move_cursor((0, len(text.partition("\n")[0])))

    @work(group="session-measure", exit_on_error=False)
    async def action_measure(self) -> None:
        measurement = self._measurement
        if measurement is None or not measurement.possible:
            self.notify("There is no 16-bit original to measure against.", severity="warning")
        elif measurement.active:
            await measurement.cancel()
        elif self._talk.busy:
            self.notify("The answer before is not written yet; esc stops it.")
        else:
            await measurement.start()
        self.show_all()

    def action_start_over(self) -> None:
        self._talk.start_over()
        self.show_all()

    @work(group="session-open", exit_on_error=False)
    async def action_unload(self) -> None:
        """The dialogue ends; Enter loads the model again."""
        async with self._opening:
            await self._talk.unload()
        self.show_all()
