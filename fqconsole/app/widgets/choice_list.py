"""Rows of ◂ value ▸: up and down choose the row, left and right change its value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widget import Widget

TITLE_WIDTH = 10


@dataclass(frozen=True)
class ChoiceRow:
    name: str
    title: str
    value: str
    hint: str = ""


class ChoiceList(Widget, can_focus=True):
    """Knows no values: it asks by a `Stepped` message and is told the new rows."""

    HELP: ClassVar[str] = (
        "Up and down choose a row, left and right change it; all numbers are computed again at once."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", show=False),
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("right,l", "step(1)", "more", show=False),
        Binding("left,h", "step(-1)", "less", show=False),
    ]

    class Stepped(Message):
        """The operator wants the next value of `name`, to the left (−1) or right (1)."""

        def __init__(self, name: str, step: int) -> None:
            super().__init__()
            self.name = name
            self.step = step

    def __init__(self, *, start: str = "", help: str = "", id: str | None = None) -> None:
        """`start` is the row that is chosen first; `help` what F1 says of these rows."""
        super().__init__(id=id)
        if help:
            self.HELP = help  # type: ignore[misc]  # of this list alone
        self._rows: tuple[ChoiceRow, ...] = ()
        self._at = 0
        self._start = start

    def show(self, rows: Sequence[ChoiceRow]) -> None:
        """Replace the rows; the cursor stays on its row, or in its place where that row is gone."""
        kept = self._rows[self._at].name if self._rows else self._start
        names = [row.name for row in rows]
        self._at = names.index(kept) if kept in names else min(self._at, max(0, len(rows) - 1))
        self._rows = tuple(rows)
        self.styles.height = max(1, len(rows))
        self.refresh()

    def action_move(self, step: int) -> None:
        if self._rows:
            self._at = min(max(self._at + step, 0), len(self._rows) - 1)
            self.refresh()

    def action_step(self, step: int) -> None:
        if self._rows:
            self.post_message(self.Stepped(self._rows[self._at].name, step))

    def on_click(self, event: Click) -> None:
        if 0 <= event.y < len(self._rows):
            self._at = event.y
            value = self._rows[event.y].value
            if event.x >= TITLE_WIDTH:
                self.action_step(-1 if event.x < TITLE_WIDTH + 2 + len(value) // 2 else 1)
            self.refresh()

    def render(self) -> Content:
        lines = []
        for index, row in enumerate(self._rows):
            here = index == self._at and self.has_focus
            lines.append(
                Content.assemble(
                    (f"{row.title:<{TITLE_WIDTH}}", "$foreground 70%"),
                    (f"◂ {row.value} ▸", "bold reverse" if here else "bold" if index == self._at else ""),
                    (f" {row.hint}", "$foreground 60%"),
                )
            )
        return Content("\n").join(lines)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()
