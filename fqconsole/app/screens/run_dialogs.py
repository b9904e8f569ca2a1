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
from fqconsole.app.word_diff import word_diff

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
            box.border_title = f"Note and tags of {self._run_id}"
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
    """Answers side by side, as many as the width allows. The first stays; left and right bring the others
    beside it. Where all answer one prompt, words that the first does not have are marked.
    """

    HELP: ClassVar[str] = "Tab goes from answer to answer, j and k scroll. Marked words are not in the first."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,o,q", "close", "close", show=False),
        Binding("right,l", "turn(1)", "next", show=False),
        Binding("left,h", "turn(-1)", "previous", show=False),
    ]

    def __init__(self, answers: Sequence[StoredAnswer]) -> None:
        super().__init__()
        self._answers = tuple(answers)
        self._next = 1  # of the answers beside the first, the leftmost
        self._same = len({answer.prompt for answer in answers}) == 1

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

    def _shown(self) -> tuple[StoredAnswer, ...]:
        if self._seen == 1:
            return self._answers[self._next - 1 : self._next]
        return (self._answers[0], *self._answers[self._next : self._next + self._seen - 1])

    async def action_turn(self, step: int) -> None:
        most = len(self._answers) - max(0, self._seen - 2) - (self._seen > 1)
        turned = min(max(self._next + step, 1), max(1, most))
        if turned != self._next:
            self._next = turned
            await self._fill()

    async def _fill(self) -> None:
        shown, first = self._shown(), self._answers[0]
        box, prompt = self.query_one("#outputs"), self.query_one("#outputs-prompt", Static)
        box.border_title = "Outputs · one prompt" if self._same else "Outputs · the prompts differ"
        hidden = len(self._answers) - len(shown)
        box.border_subtitle = f"← → {hidden} more · esc close" if hidden else "esc close"
        prompt.display = self._same
        prompt.update(first.prompt)
        panes = self.query_one("#outputs-panes")
        alone = self._same and len(self._answers) == 2  # then both can be marked
        others = [
            OutputPane(
                answer,
                with_prompt=not self._same,
                other=first if self._same and answer is not first else self._answers[1] if alone else None,
                reference=answer is first,
            )
            for answer in shown
        ]
        async with self.batch():
            await panes.remove_children()
            await panes.mount_all(others)
        panes.query(Transcript).first().focus()


class OutputPane(Vertical):
    """One stored answer; what `other` does not have is marked."""

    def __init__(
        self, answer: StoredAnswer, *, with_prompt: bool, other: StoredAnswer | None, reference: bool
    ) -> None:
        super().__init__()
        self._answer, self._with_prompt = answer, with_prompt
        self._diff = None if other is None else word_diff(other.text, answer.text)
        self._reference = reference

    def compose(self) -> ComposeResult:
        yield Static(Content(f"── {self._answer.head} {'─' * 80}"), classes="head")
        yield Transcript(labels=False, follow=False)
        yield Static(Content(self._meters()), classes="meters")

    def _meters(self) -> str:
        if self._diff is None or self._reference:
            return self._answer.meters
        same = (
            "the same words"
            if self._diff.same_words is None
            else f"{self._diff.shared:.0%} of words the same"
        )
        return f"{self._answer.meters} · {same}"

    def on_mount(self) -> None:
        passages = (
            [Passage("", self._answer.prompt, "said"), Passage("", "", "quiet")] if self._with_prompt else []
        )
        marks = () if self._diff is None else self._diff.second
        passages.append(Passage("", self._answer.text, "answer", marks=marks))
        transcript = self.query_one(Transcript)
        transcript.signs = self._diff is not None
        transcript.show(passages)
