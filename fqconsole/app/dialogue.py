"""A dialogue with one model, or with two side by side: what was asked, and what each made of it."""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from fqconsole.app.answer import Answer
from fqconsole.app.blind import BlindPair, Choice, Side
from fqconsole.app.job_runner import JobHandle, JobRunner
from fqconsole.app.model_session import ModelSession
from fqconsole.app.session_requests import generate_request
from fqconsole.app.store_thread import StoreThread, sentence
from fqconsole.app.turn import Turn
from fqconsole.app.workspace import SessionChoice
from fqconsole.generation.options import Sampling, with_seed
from fqconsole.jobs.messages import AnyEvent, Stop


class Dialogue:
    """Sends one prompt at a time: never two models at once, so that the speeds are honest.

    `before_send` is awaited before a prompt goes out: what competes for the device is held there.
    `predicted` gives the memory that was promised for a model.
    """

    def __init__(
        self,
        jobs: JobRunner,
        store: StoreThread,
        begin: Any,
        *,
        before_send: Callable[[], Awaitable[None]],
        predicted: Callable[[SessionChoice], dict[str, Any]],
    ) -> None:
        self._jobs, self._store, self._begin = jobs, store, begin
        self._before_send, self._predicted = before_send, predicted
        self._stepping = False
        self.sessions: dict[Side, ModelSession] = {}
        self.turns: list[Turn] = []
        self.sampling = Sampling()
        self.system = ""
        self.preset = ""  # what the way of sampling is called, to be kept with the runs
        self.blind = False  # the next answers are shown as X and Y
        self.one_at_a_time = False  # both models do not fit in memory together

    # which models

    @property
    def main(self) -> ModelSession | None:
        return self.sessions.get("a")

    @property
    def other(self) -> ModelSession | None:
        return self.sessions.get("b")

    @property
    def comparing(self) -> bool:
        return self.other is not None

    async def open(self, choice: SessionChoice) -> None:
        """Talk to another model; the one before is unloaded and its dialogue ends."""
        await self.close()
        self.sessions["a"] = ModelSession(choice, self._jobs)
        await self.sessions["a"].open()

    async def close(self) -> None:
        """Unload every model."""
        sessions = list(self.sessions.values())
        self.sessions.clear()
        self.turns.clear()
        self.one_at_a_time = self.blind = False
        for session in sessions:
            await session.close()

    async def unload(self) -> None:
        """Give the memory back; the next question loads the model again."""
        for session in self.sessions.values():
            await session.close()

    async def compare_with(self, choice: SessionChoice, *, blind: bool = False) -> None:
        """Put another model beside the first; it answers the last prompt with the same seed.

        `blind`: only the next prompt, as nobody knows yet whose answer that will be.
        """
        await self.compare_no_more()
        self.sessions["b"] = ModelSession(choice, self._jobs)
        self.blind = blind
        turn = self.turns[-1] if self.turns and not blind else None
        first = turn.answers.get("a") if turn else None
        if turn is not None and first is not None and first.status not in ("failed", "cancelled"):
            turn.answers["b"] = self._same_question(first)
        elif not self.busy and not self.one_at_a_time:
            await self.sessions["b"].open()
        await self.advance()

    async def compare_no_more(self) -> None:
        """Unload the second model and go on with the first alone."""
        other = self.sessions.pop("b", None)
        self.blind = False
        for turn in self.turns:
            turn.answers.pop("b", None)
            turn.blind = None
        if other is not None:
            await other.close()

    # blind

    @property
    def hidden(self) -> bool:
        """No name, speed or size may be seen: a vote is still to come."""
        return bool(self.turns) and self.turns[-1].hidden

    @property
    def votable(self) -> bool:
        """Both answers stand there and wait for a vote."""
        return self.hidden and self.turns[-1].whole

    def lift(self) -> None:
        """Show the names after all; the answers under way are compared openly."""
        if self.hidden and self.turns[-1].blind is not None:
            self.turns[-1].blind.lifted = True

    async def vote(self, choice: Choice) -> None:
        """Keep a vote with the runs of both answers, and show the names. Raises what the store raises."""
        turn = self.turns[-1]
        if turn.blind is None or not self.votable:
            return
        first, second = (turn.answers[side].run_id for side in turn.sides)
        turn.blind.choice = choice
        await self._store.call(lambda store: store.add_vote(first, second, choice))

    # what is asked

    @property
    def busy(self) -> bool:
        """An answer is being written, or waits for its turn."""
        return any(turn.open for turn in self.turns)

    @property
    def current(self) -> Answer | None:
        """The answer that the worker is at."""
        return next((answer for answer in self._answers() if answer.under_way), None)

    def latest(self, side: Side) -> Answer | None:
        """The last whole answer of one model."""
        answers = [turn.answers[side] for turn in self.turns if side in turn.answers]
        return next((answer for answer in reversed(answers) if answer.status == "done"), None)

    def _answers(self) -> Iterator[Answer]:
        for turn in self.turns:
            yield from turn.answers.values()

    async def ask(self, prompt: str, *, in_place_of_last: bool = False) -> None:
        """Put a question to every model shown, one after the other."""
        if in_place_of_last and self.turns:
            self.turns.pop()
        # One seed for all: drawn here, so that the second model gets the same as the first.
        question = Answer(prompt, with_seed(self.sampling), self._conversation())
        turn = Turn(prompt)
        if self.blind and self.comparing:
            turn.blind = BlindPair(secrets.choice(("a", "b")))
        self.turns.append(turn)
        for side in turn.sides:  # X is asked first
            if side in self.sessions:
                turn.answers[side] = self._same_question(question)
        await self.advance()

    async def again(self) -> None:
        """Ask the last question once more; without a fixed seed the answer will be another."""
        if self.turns and not self.busy:
            await self.ask(self.turns[-1].prompt, in_place_of_last=True)

    async def stop(self) -> str:
        """End the answer under way, keep its text, and ask no more; returns the prompt that was asked."""
        asked = self.turns[-1].prompt if self.busy else ""
        if self.busy:
            self.lift()
        for turn in self.turns:
            for side, answer in turn.answers.items():
                if answer.status == "waiting":
                    answer.status = "cancelled"
                elif answer.under_way and side in self.sessions:
                    await self.sessions[side].send(Stop())
        return asked

    def start_over(self) -> None:
        """Forget the dialogue; the runs stay recorded."""
        if not self.busy:
            self.turns.clear()

    @staticmethod
    def _same_question(answer: Answer) -> Answer:
        return Answer(answer.prompt, answer.sampling, answer.earlier)

    def _conversation(self) -> tuple[tuple[str, str], ...]:
        """What was said so far, as the first model knows it."""
        said: list[tuple[str, str]] = [("system", self.system)] if self.system else []
        for turn in self.turns:
            answer = turn.answers.get("a")
            if answer is not None and answer.status in ("done", "stopped") and answer.text:
                said += [("user", turn.prompt), ("assistant", answer.text)]
        return tuple(said)

    # going on

    async def advance(self) -> None:
        """Load the model that the next question needs, or send it; returns where an event must come first."""
        if self._stepping:
            return
        self._stepping = True
        try:
            while self.current is None and (step := self._next_step()) is not None:
                side, answer = step
                session = self.sessions[side]
                if session.state == "ready":
                    await self._send(session, answer)
                elif session.state == "loading":
                    return
                else:
                    await self._load(side)
        finally:
            self._stepping = False

    def _next_step(self) -> tuple[Side, Answer] | None:
        for turn in self.turns:
            for side, answer in turn.answers.items():
                if answer.status == "waiting" and side in self.sessions:
                    return side, answer
        return None

    async def _load(self, side: Side) -> None:
        if self.one_at_a_time:
            for name, session in self.sessions.items():
                if name != side:
                    await session.close()
        await self.sessions[side].open()

    async def _send(self, session: ModelSession, answer: Answer) -> None:
        await self._before_send()
        if answer.over:
            return
        choice = session.choice
        make = generate_request(
            self._begin,
            choice,
            answer,
            template=session.has_template,
            predicted=self._predicted(choice),
            preset=self.preset,
            shown_as=self._shown_as(answer),
        )
        try:
            request = await self._store.call(make)
            answer.run_id = request.run_id
            if answer.status == "cancelled":  # stopped meanwhile: the worker never sees this run
                await self._store.call(lambda store: store.finish_run(request.run_id, "cancelled"))
                return
            answer.status = "sent"
            await session.send(request)
        except Exception as error:  # noqa: BLE001 - a full disk or a dead worker is a sentence in the pane
            answer.fail(sentence(error))

    def _shown_as(self, answer: Answer) -> str:
        """X or Y in a blind comparison."""
        turn = next(turn for turn in self.turns if answer in turn.answers.values())
        side = next(side for side, other in turn.answers.items() if other is answer)
        return turn.blind.letter(side) if turn.blind else ""

    def take(self, job: JobHandle, events: Iterable[AnyEvent]) -> bool:
        """Take account of a session's events; False when they concern no model of this dialogue."""
        sessions = [session for session in self.sessions.values() if session.owns(job)]
        for event in events:
            for session in sessions:
                session.take(event)
            for answer in self._answers():
                answer.take(event)
        self._lift_where_one_is_missing()
        return bool(sessions)

    def job_changed(self, job: JobHandle) -> None:
        """Notice that a model's worker is gone, and what that means for the questions it has not answered."""
        for side, session in self.sessions.items():
            if session.owns(job):
                session.check_end()
                if session.state == "failed":
                    self._lost(side, session)
        self._lift_where_one_is_missing()

    def _lift_where_one_is_missing(self) -> None:
        """There is nothing to vote on where an answer failed."""
        if self.hidden and any(answer.status in ("failed", "cancelled") for _s, answer in self._last()):
            self.lift()

    def _last(self) -> list[tuple[Side, Answer]]:
        return list(self.turns[-1].answers.items()) if self.turns else []

    def _lost(self, side: Side, session: ModelSession) -> None:
        others = [other for name, other in self.sessions.items() if name != side]
        if session.out_of_memory and not self.one_at_a_time and any(o.state != "closed" for o in others):
            self.one_at_a_time = True  # the questions wait, and this model is loaded alone
            return
        for turn in self.turns:
            answer = turn.answers.get(side)
            if answer is not None and not answer.over:
                answer.fail(session.problem)
