"""A dialogue on the screen: one pane with all that was said, or two with the answers to the last question."""

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from fqconsole.app import session_view
from fqconsole.app.blind import Side
from fqconsole.app.dialogue import Dialogue
from fqconsole.app.dialogue_passages import DialoguePassages
from fqconsole.app.passage_rows import Passage
from fqconsole.app.visible_text import visible
from fqconsole.app.widgets.answer_pane import AnswerPane
from fqconsole.app.widgets.panel import Panel
from fqconsole.app.widgets.transcript import Transcript

PLACES: tuple[Side, Side] = ("a", "b")


class SessionPanel(Panel):
    """`show` draws a dialogue; without a model `show_empty` says what to press."""

    markdown = True  # answers are drawn as Markdown, else as they are written
    _question = ""
    _beside = False  # two answers are shown

    def __init__(self, *, title: str, id: str) -> None:
        super().__init__(title=title, id=id)
        self._passages = DialoguePassages()

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
        self.name_it("Session")

    def show(self, talk: Dialogue) -> None:
        self._show_parts(empty=False, comparing=talk.comparing)
        question = self.query_one("#session-question", Static)
        question.display = talk.comparing and bool(talk.turns)
        if question.display and talk.turns[-1].prompt != self._question:
            self._question = talk.turns[-1].prompt
            question.update(f"you     {visible(self._question)}")
        if talk.comparing:
            sides = talk.turns[-1].sides if talk.turns else PLACES
            for place, side in zip(PLACES, sides, strict=True):
                self._show_beside(talk, place, side)
        else:
            self._show_alone(talk)
        self.name_it(session_view.title(talk), session_view.subtitle(talk))

    @on(Transcript.Scrolled)
    def _scroll_together(self, message: Transcript.Scrolled) -> None:
        """Two answers to one question are read side by side."""
        if self._beside:
            for transcript in self.query(Transcript):
                if transcript is not message.transcript:
                    transcript.go_along(message.transcript)

    def _show_parts(self, *, empty: bool, comparing: bool) -> None:
        self._beside = comparing
        self.query_one("#session-empty").display = empty
        self.query_one("#session-panes").display = not empty
        self.query_one("#session-b").display = comparing
        if empty:
            self.query_one("#session-question").display = False

    def _show_alone(self, talk: Dialogue) -> None:
        """The whole dialogue of one model; what was measured of earlier answers stands below them."""
        session = talk.main
        if session is None:
            return
        passages = self._passages.of(talk, session, markdown=self.markdown)
        answer = talk.turns[-1].answers.get("a") if talk.turns else None
        context = session.ready.context if session.ready else None
        meters = session_view.meters(answer, context) if answer else []
        labels = bool(talk.turns or (talk.system and session.has_template))
        self.query_one("#session-a", AnswerPane).show("", passages, meters, labels=labels)

    def _show_beside(self, talk: Dialogue, place: Side, side: Side) -> None:
        """The last answer of one of two models, in the pane at `place`."""
        session = talk.sessions.get(side)
        if session is None:
            return
        turn = talk.turns[-1] if talk.turns else None
        answer = turn.answers.get(side) if turn else None
        hidden = turn is not None and turn.hidden
        passages: list[Passage] = []
        if turn is not None and hidden and not turn.whole:
            passages = session_view.secret_passages(turn, side)
        elif turn is not None and answer is not None:
            marks = turn.marks(side)
            passages = session_view.passages(answer, session, "", markdown=self.markdown, marks=marks)
        if answer is None or (not hidden and session_view.lost_since(session, answer, comparing=True)):
            passages += session_view.state_passages(session)
        context = session.ready.context if session.ready else None
        meters = session_view.meters(answer, context, narrow=True) if answer and not hidden else []
        pane = self.query_one(f"#session-{place}", AnswerPane)
        pane.show(session_view.pane_head(turn, side, session), passages, meters, labels=False)
