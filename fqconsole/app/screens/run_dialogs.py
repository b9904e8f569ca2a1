"""Small screens over the list of runs: a note with tags, and stored answers side by side."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from fqconsole.app.screens.dialogs import Dialog
from fqconsole.app.stored_answer import StoredAnswer
from fqconsole.app.widgets.transcript import Passage, Transcript

PANE = 34  # cells that an answer needs beside another


class NoteDialog(Dialog):
    """`write(note, tags)` is called with what was typed; Esc leaves all as it was."""

    def __init__(
        self, run_id: str, note: str, tags: Sequence[str], write: Callable[[str, str], None]
    ) -> None:
        super().__init__()
        self._run_id, self._note, self._tags, self._write = run_id, note, " ".join(tags), write

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = f"Note on {self._run_id}"
            box.border_subtitle = "⏎ keep · esc cancel"
            yield Input(self._note, placeholder="a note in your words", id="note-text", select_on_focus=False)
            yield Input(
                self._tags,
                placeholder="tags, single words: demo candidate",
                id="note-tags",
                select_on_focus=False,
            )

    def on_mount(self) -> None:
        self.query_one("#note-text", Input).focus()

    @on(Input.Submitted)
    def _keep(self) -> None:
        self._write(self.query_one("#note-text", Input).value, self.query_one("#note-tags", Input).value)
        self.dismiss("keep")


class OutputsDialog(Dialog):
    """Answers side by side, as many as the width allows; left and right bring the others."""

    HELP: ClassVar[str] = "Tab goes from answer to answer, j and k scroll."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,o,q", "close", "close", show=False),
        Binding("right,l", "turn(1)", "next", show=False),
        Binding("left,h", "turn(-1)", "previous", show=False),
    ]

    def __init__(self, answers: Sequence[StoredAnswer]) -> None:
        super().__init__()
        self._answers = tuple(answers)
        self._first = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="outputs") as box:
            box.border_title = "Outputs"
            yield Static(id="outputs-prompt", markup=False)
            yield Horizontal(id="outputs-panes")

    async def on_mount(self) -> None:
        await self._fill()

    async def on_resize(self) -> None:
        await self._fill()

    @property
    def _seen(self) -> int:
        """How many fit beside each other."""
        return max(1, min(len(self._answers), (self.size.width - 6) // PANE))

    async def action_turn(self, step: int) -> None:
        first = min(max(self._first + step, 0), len(self._answers) - self._seen)
        if first != self._first:
            self._first = first
            await self._fill()

    async def _fill(self) -> None:
        shown = self._answers[self._first : self._first + self._seen]
        same = len({answer.prompt for answer in self._answers}) == 1
        box, prompt = self.query_one("#outputs"), self.query_one("#outputs-prompt", Static)
        box.border_title = "Outputs · one prompt" if same else "Outputs · the prompts differ"
        hidden = len(self._answers) - len(shown)
        box.border_subtitle = f"← → {hidden} more · esc close" if hidden else "esc close"
        prompt.display = same
        prompt.update(self._answers[0].prompt)
        panes = self.query_one("#outputs-panes")
        async with self.batch():
            await panes.remove_children()
            await panes.mount_all([OutputPane(answer, with_prompt=not same) for answer in shown])
        first = panes.query(Transcript).first()
        first.focus()


class OutputPane(Vertical):
    """One stored answer."""

    def __init__(self, answer: StoredAnswer, *, with_prompt: bool) -> None:
        super().__init__()
        self._answer, self._with_prompt = answer, with_prompt

    def compose(self) -> ComposeResult:
        yield Static(Content(f"── {self._answer.head} {'─' * 80}"), classes="head")
        yield Transcript(labels=False, follow=False)
        yield Static(Content(self._answer.meters), classes="meters")

    def on_mount(self) -> None:
        passages = (
            [Passage("", self._answer.prompt, "said"), Passage("", "", "quiet")] if self._with_prompt else []
        )
        passages.append(Passage("", self._answer.text, "answer"))
        self.query_one(Transcript).show(passages)
