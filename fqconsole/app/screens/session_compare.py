"""The half of the Session screen that puts a second model beside the first, openly or blindly."""

from functools import partial

from textual import on, work
from textual.message import Message

from fqconsole.app import blind, session_choices
from fqconsole.app.blind import Choice
from fqconsole.app.measurement import Measurement
from fqconsole.app.messages import SessionWanted
from fqconsole.app.origin import bits_per_weight, model_key
from fqconsole.app.screens.dialogs import PickOne
from fqconsole.app.screens.session_answers import AnswersScreen
from fqconsole.app.screens.session_dialogs import AddressOfServer
from fqconsole.app.store_thread import sentence
from fqconsole.app.visible_text import one_line
from fqconsole.app.workspace import SessionChoice
from fqconsole.endpoints.address import Address


class ChoicesFound(Message):
    """Which models can stand in the second pane."""

    def __init__(self, choices: list[SessionChoice], problem: str, *, blind: bool) -> None:
        super().__init__()
        self.choices = choices
        self.problem = problem
        self.blind = blind


class ComparingScreen(AnswersScreen):
    """Knows the votes on the pair of its dialogue."""

    def __init__(self) -> None:
        super().__init__()
        self._measurement: Measurement | None = None
        self._choice: SessionChoice | None = None
        self._votes: list[str] = []  # phrases of the blind votes on the pair that is shown

    # the second model

    @work(group="session-compare", exit_on_error=False)
    async def action_compare(self) -> None:
        if self._choice is None:
            return
        if not self._talk.comparing:
            await self._put_beside(self._choice, blind=False)
        elif not self._talk.busy:
            await self._talk.compare_no_more()
        self.show_all()

    def action_compare_with(self) -> None:
        if self._choice is not None and not self._talk.busy:
            self._find_others(self._choice, blind=self._talk.blind)

    async def _put_beside(self, main: SessionChoice, *, blind: bool) -> None:
        """The 16-bit original where there is one, else what the operator chooses."""
        measurement = self._measurement
        if measurement is not None and measurement.possible and measurement.origin.reference_path is not None:
            reference = session_choices.sixteen_bit(main, measurement.origin.reference_path)
            await self._compare_with(reference, blind=blind)
        else:
            self._find_others(main, blind=blind)

    async def _compare_with(self, choice: SessionChoice, *, blind: bool) -> None:
        await self._talk.compare_with(choice, blind=blind)
        await self._read_pair()

    @work(thread=True, exclusive=True, group="session-others", exit_on_error=False)
    def _find_others(self, main: SessionChoice, *, blind: bool) -> None:
        try:
            choices = session_choices.comparable(self.console.services, main)
        except Exception as error:  # noqa: BLE001 - an unreadable folder is a sentence, no crash
            self.post_message(ChoicesFound([], sentence(error), blind=blind))
            return
        self.post_message(ChoicesFound(choices, "", blind=blind))

    @on(ChoicesFound)
    def _pick_other(self, message: ChoicesFound) -> None:
        names = {one_line(f"{choice.label}  {choice.path}"): choice for choice in message.choices}
        if not names:
            problem = message.problem or "No other model is on this machine."
            self.notify(problem, severity="warning", markup=False)
            return

        async def picked(name: str | None) -> None:
            if name:
                await self._compare_with(names[name], blind=message.blind)
                self.show_all()

        self.console.push_screen(PickOne("What shall stand beside it?", list(names)), picked)

    async def _read_pair(self) -> None:
        """What the runs know of the two models: bits per weight, votes."""
        talk, store = self._talk, self.console.store
        try:
            for session in talk.sessions.values():
                if session.bits_per_weight is None:
                    session.bits_per_weight = await store.call(partial(bits_per_weight, session.choice.path))
            self._votes = await self._tally()
        except Exception:  # noqa: BLE001 - without a database there is nothing to tell
            self._votes = []

    async def _tally(self) -> list[str]:
        main, other = self._talk.main, self._talk.other
        if main is None or other is None:
            return []
        keys = [model_key(session.choice.path) for session in (main, other)]
        counts = await self.console.store.call(lambda store: store.tally(*keys))
        if not counts.votes:
            return []
        first, second = one_line(main.choice.label), one_line(other.choice.label)
        return blind.tally_phrases(first, second, (counts.first, counts.second, counts.tie, counts.neither))

    # a model that a server has

    def action_endpoint(self) -> None:
        if not self._talk.busy:
            self.console.push_screen(AddressOfServer(self._take_served))

    def _take_served(self, address: Address) -> None:
        """Beside the model that is loaded, alone where none is."""
        choice = session_choices.served(address)
        if self._choice is None:
            self.post_message(SessionWanted(choice))
        else:
            self._show_beside(choice)

    @work(group="session-compare", exit_on_error=False)
    async def _show_beside(self, choice: SessionChoice) -> None:
        await self._compare_with(choice, blind=self._talk.blind)
        self.show_all()

    # blind

    @work(group="session-compare", exit_on_error=False)
    async def action_blind(self) -> None:
        talk = self._talk
        if self._choice is None:
            return
        if talk.busy:
            self.notify("The answers are not written yet; esc stops them.")
        elif talk.blind:
            talk.lift()
            talk.blind = False
        elif talk.comparing:
            talk.blind = True
        else:
            await self._put_beside(self._choice, blind=True)
        self.show_all()

    @work(group="session-vote", exit_on_error=False)
    async def action_vote(self, choice: Choice) -> None:
        talk = self._talk
        if not talk.votable:
            if talk.blind:
                self.notify("There is no vote yet: write a prompt, then read both answers.")
            return
        try:
            await talk.vote(choice)
            self._votes = await self._tally()
        except Exception as error:  # noqa: BLE001 - the names are shown, and why the vote is not kept
            self.notify(f"The vote is not kept: {sentence(error)}", severity="error", markup=False)
        self.after_vote()

    def after_vote(self) -> None:
        """The names are known now."""
        self.show_all()
