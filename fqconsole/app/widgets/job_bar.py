"""The head of a job: one bar over all its phases, and two lines of what it does now."""

from textual.content import Content
from textual.widget import Widget

from fqconsole.app.widgets.bars import filled


class JobBar(Widget):
    """`show` takes ready words: the screen has no arithmetic."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._fraction = 0.0
        self._word = ""
        self._lines: tuple[str, ...] = ()

    def show(self, fraction: float | None, word: str, lines: list[str]) -> None:
        """`fraction` None: no bar, only lines."""
        self._fraction = -1.0 if fraction is None else fraction
        grew = len(lines) != len(self._lines)
        self._word, self._lines = word, tuple(lines)
        self.set_class(fraction is None, "-words")
        self.refresh(layout=grew)

    def render(self) -> Content:
        lines = [Content(line) for line in self._lines]
        if self._fraction >= 0:
            width = max(10, self.size.width - max(34, len(self._word) + 4))
            bar = Content.assemble(
                (filled(self._fraction, width), "$primary on $panel"),
                self._word.rjust(max(0, self.size.width - width)),
            )
            lines.insert(0, bar)
        return Content("\n").join(lines)
