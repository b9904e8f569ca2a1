"""A dialogue on the screen: one pane with all that was said, or two with the answers to the last question."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from fqconsole.app import session_view
from fqconsole.app.dialogue import Dialogue, Side
from fqconsole.app.visible_text import visible
from fqconsole.app.widgets.answer_pane import AnswerPane
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.transcript import Passage, Transcript


class SessionPanel(Panel):
    """`show` draws a dialogue; without a model `show_empty` says what to press."""

    def compose(self) -> ComposeResult:
        yield Static(id="session-question", markup=False)
        with Horizontal(id="session-panes"):
            yield AnswerPane(id="session-a")
            yield AnswerPane(id="session-b")
        yield Static(id="session-empty", classes="empty", markup=False)

    @property
    def transcript(self) -> Transcript:
        """The text of the first pane."""
        return self.query_one("#session-a", AnswerPane).transcript

    def show_empty(self, words: str) -> None:
        self._show_parts(empty=True, comparing=False)
        self.query_one("#session-empty", Static).update(words)
        self.border_title = "Session"
        self.border_subtitle = ""

    def show(self, talk: Dialogue) -> None:
        self._show_parts(empty=False, comparing=talk.comparing)
        question = self.query_one("#session-question", Static)
        question.display = talk.comparing and bool(talk.turns)
        if question.display:
            question.update(f"you     {visible(talk.turns[-1].prompt)}")
        self._show_pane(talk, "a")
        if talk.comparing:
            self._show_pane(talk, "b")
        self.border_title = Text(session_view.title(talk.main, talk.other))
        self.border_subtitle = session_view.subtitle(talk)

    def _show_parts(self, *, empty: bool, comparing: bool) -> None:
        self.query_one("#session-empty").display = empty
        self.query_one("#session-panes").display = not empty
        self.query_one("#session-b").display = comparing
        if empty:
            self.query_one("#session-question").display = False

    def _show_pane(self, talk: Dialogue, side: Side) -> None:
        session = talk.sessions.get(side)
        if session is None:
            return
        answer = talk.turns[-1].answers.get(side) if talk.turns else None
        context = session.ready.context if session.ready else None
        head = session_view.pane_head(side.upper(), session, answer) if talk.comparing else ""
        meters = session_view.meters(answer, context, narrow=talk.comparing) if answer else []
        pane = self.query_one(f"#session-{side}", AnswerPane)
        pane.show(head, self._passages(talk, side), meters, labels=not head and bool(talk.turns))

    @staticmethod
    def _passages(talk: Dialogue, side: Side) -> list[Passage]:
        session = talk.sessions[side]
        passages: list[Passage] = []
        for turn in talk.turns[-1:] if talk.comparing else talk.turns:
            if not talk.comparing:
                passages.append(Passage("you", visible(turn.prompt), "said"))
            if side in turn.answers:
                passages += session_view.passages(turn.answers[side], session, session.precision)
        last = talk.turns[-1].answers.get(side) if talk.turns else None
        if last is None or session_view.lost_since(session, last, comparing=talk.comparing):
            passages += session_view.state_passages(session)
        return passages
