"""A whole dialogue with one model as passages; what was said before the last question is made once."""

from dataclasses import dataclass

from fqconsole.app import session_view
from fqconsole.app.answer import Answer
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.model_session import ModelSession
from fqconsole.app.passage_rows import Passage
from fqconsole.app.turn import Turn
from fqconsole.app.visible_text import visible


@dataclass(frozen=True)
class _Said:
    """A turn that changes no more, and its passages."""

    turn: Turn
    answer: Answer
    passages: tuple[Passage, ...]


class DialoguePassages:
    """`of` gives the same Passage objects for turns that are over, so that nobody has to compare texts."""

    def __init__(self) -> None:
        self._said: list[_Said] = []
        self._drawn_as: tuple[str, bool] = ("", True)  # the model's precision, and whether as Markdown

    def of(self, talk: Dialogue, session: ModelSession, *, markdown: bool) -> list[Passage]:
        """The system prompt, every question and answer, and what the model's state has to say."""
        if self._drawn_as != (session.precision, markdown):
            self._drawn_as = (session.precision, markdown)
            self._said.clear()
        system = talk.system if session.has_template else ""
        passages = [Passage("system", visible(system), "quiet")] if system else []
        for number, turn in enumerate(talk.turns[:-1]):
            passages += self._earlier(number, turn, session)
        last = talk.turns[-1] if talk.turns else None
        answer = last.answers.get("a") if last else None
        if last is not None:
            passages.append(Passage("you", visible(last.prompt), "said"))
        if answer is not None:
            passages += session_view.passages(answer, session, session.precision, markdown=markdown)
        if answer is None or session_view.lost_since(session, answer, comparing=False):
            passages += session_view.state_passages(session)
        return passages

    def _earlier(self, number: int, turn: Turn, session: ModelSession) -> tuple[Passage, ...]:
        answer = turn.answers.get("a")
        said = self._said[number] if number < len(self._said) else None
        if said is not None and said.turn is turn and said.answer is answer:
            return said.passages
        question = Passage("you", visible(turn.prompt), "said")
        if answer is None:
            return (question,)
        precision, markdown = self._drawn_as
        passages = (
            question,
            *session_view.passages(answer, session, precision, markdown=markdown),
            Passage("", session_view.kept_line(answer), "quiet"),
        )
        del self._said[number:]
        if answer.over and number == len(self._said):  # those before it are kept too
            self._said.append(_Said(turn, answer, passages))
        return passages
