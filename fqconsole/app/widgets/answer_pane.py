"""One model's side of the dialogue: its letter where there are two, the text, the speeds below."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from fqconsole.app.widgets.transcript import Passage, Transcript
from fqconsole.app.wrapping import cut, flowed


class AnswerPane(Vertical):
    """`show` takes ready words."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._head = ""
        self._meters: tuple[str, ...] = ()
        self._drawn = ("", "")

    def compose(self) -> ComposeResult:
        yield Static(classes="head", markup=False)
        yield Transcript()
        yield Static(classes="meters", markup=False)

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    def show(self, head: str, passages: Sequence[Passage], meters: Sequence[str], *, labels: bool) -> None:
        """`head` is empty for a single pane, so that no line needs a sign for what differs; `labels` says
        whether the passages carry names.
        """
        self._head, self._meters = head, tuple(meters)
        self.transcript.labels = labels
        self.transcript.signs = bool(head)
        self.transcript.show(passages)
        self.query_one(".head").display = bool(head)
        self.query_one(".meters").display = bool(meters) or not head
        self._show_lines()

    def on_resize(self) -> None:
        """The layout under way counted the lines of the old width: another one follows it."""
        self._show_lines()
        self.call_after_refresh(self.query_one(".meters").refresh, layout=True)

    def _show_lines(self) -> None:
        """Draw head and meters anew where they changed; they are laid out anew where a line came or went."""
        width = self.content_size.width
        head = f"── {cut(self._head, max(4, width - 6))} ".ljust(width, "─") if self._head else ""
        meters = "\n".join(flowed(self._meters, width))
        drawn, self._drawn = self._drawn, (head, meters)
        if head != drawn[0]:
            self.query_one(".head", Static).update(Content(head), layout=False)
        if meters != drawn[1]:
            grown = meters.count("\n") != drawn[1].count("\n")
            self.query_one(".meters", Static).update(Content(meters), layout=grown)
