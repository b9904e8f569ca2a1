"""A text that grows at its end: wrapped once, drawn line by line; the view follows who reads its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.cells import set_cell_size
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from fqconsole.app.wrapping import wrapped_paragraph

Kind = Literal["said", "answer", "quiet", "problem"]
LABEL = 8  # cells of the names before the text
NEAR = 2  # lines from the end within which a reader is taken along


@dataclass(frozen=True)
class Passage:
    """A stretch of text by one speaker. The text must be safe to draw; a label is cut to seven cells."""

    label: str
    text: str
    kind: Kind = "answer"


@dataclass(frozen=True)
class _Line:
    label: str
    text: str
    kind: Kind


class Transcript(ScrollView, can_focus=True):
    """`show` takes all passages; where only the last has grown, only its last line is wrapped again."""

    ALLOW_SELECT = True
    HELP: ClassVar[str] = (
        "What was asked and answered. j and k or the arrow keys scroll, g and G go to the ends. The view "
        "follows a growing answer as long as its end is in sight; y copies the last answer."
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--label",
        "transcript--said",
        "transcript--answer",
        "transcript--quiet",
        "transcript--problem",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "down", show=False),
        Binding("up,k", "scroll_up", "up", show=False),
        Binding("g,home", "scroll_home", "first", show=False),
        Binding("G,end", "scroll_end", "last", show=False),
        Binding("pagedown", "page_down", "page down", show=False),
        Binding("pageup", "page_up", "page up", show=False),
    ]

    def __init__(self, *, labels: bool = True, follow: bool = True, id: str | None = None) -> None:
        """`follow` False: the text is whole and read from its beginning."""
        super().__init__(id=id)
        self._growing = follow
        self._labels = labels
        self._passages: tuple[Passage, ...] = ()
        self._lines: list[_Line] = []
        self._last_piece = ""  # the last line as it was before its end was trimmed
        self._wrapped_to = 0
        self._follow = True  # the reader's view goes along with the end

    @property
    def labels(self) -> bool:
        return self._labels

    @labels.setter
    def labels(self, on: bool) -> None:
        if on != self._labels:
            self._labels = on
            self._wrap_all()

    @property
    def text_lines(self) -> list[str]:
        """What is drawn, line by line."""
        return [self._drawn(line) for line in self._lines]

    @property
    def near_end(self) -> bool:
        """The reader sees the end, or almost."""
        return self.scroll_offset.y >= self.max_scroll_y - NEAR

    def show(self, passages: Sequence[Passage]) -> None:
        new, old = tuple(passages), self._passages
        if new == old:
            self._keep_end_in_view()
            return
        self._follow = self._follow or len(new) != len(old)
        self._passages = new
        if self._grown(old, new) and self._wrapped_to == self._width:
            self._append(new[-1].text[len(old[-1].text) :], new[-1])
            self._resize()
        else:
            self._wrap_all()
        self._keep_end_in_view()

    def _keep_end_in_view(self) -> None:
        if self._follow and self._growing:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    # Only the reader's own scrolling decides whether the view follows: layouts move it too.

    def _reader_moved(self) -> None:
        self._follow = self.scroll_target_y >= self.max_scroll_y - NEAR

    def action_scroll_down(self) -> None:
        super().action_scroll_down()
        self._reader_moved()

    def action_scroll_up(self) -> None:
        super().action_scroll_up()
        self._reader_moved()

    def action_scroll_home(self) -> None:
        super().action_scroll_home()
        self._reader_moved()

    def action_scroll_end(self) -> None:
        super().action_scroll_end()
        self._follow = True

    def action_page_down(self) -> None:
        super().action_page_down()
        self._reader_moved()

    def action_page_up(self) -> None:
        super().action_page_up()
        self._reader_moved()

    def on_mouse_scroll_down(self) -> None:
        self.call_next(self._reader_moved)

    def on_mouse_scroll_up(self) -> None:
        self.call_next(self._reader_moved)

    def on_scroll_to(self) -> None:
        self.call_next(self._reader_moved)

    @staticmethod
    def _grown(old: tuple[Passage, ...], new: tuple[Passage, ...]) -> bool:
        """Only text was added, at the end of the last passage."""
        if not old or len(old) != len(new) or old[:-1] != new[:-1]:
            return False
        before, after = old[-1], new[-1]
        same = (before.label, before.kind) == (after.label, after.kind)
        return same and after.text.startswith(before.text)

    @property
    def _indent(self) -> int:
        return LABEL if self._labels else 0

    @property
    def _width(self) -> int:
        """Cells for the text: a place is kept for the scrollbar, so that its coming changes no line."""
        return max(4, self.size.width - self.styles.scrollbar_size_vertical - self._indent)

    def _wrap_all(self) -> None:
        self._wrapped_to = self._width
        self._lines.clear()
        for index, passage in enumerate(self._passages):
            if index and passage.kind == "said":
                self._lines.append(_Line("", "", "quiet"))
            self._lines.append(_Line(passage.label, "", passage.kind))
            self._last_piece = ""
            self._append(passage.text, passage)
        self._resize()

    def _append(self, text: str, passage: Passage) -> None:
        """Add text to the last line and go on from there."""
        for number, paragraph in enumerate((self._last_piece + text).split("\n")):
            for place, piece in enumerate(wrapped_paragraph(paragraph, self._width)):
                first = number == place == 0
                label = self._lines.pop().label if first else ""
                self._lines.append(_Line(label, piece.rstrip(), passage.kind))
                self._last_piece = piece

    def _resize(self) -> None:
        self.virtual_size = Size(0, len(self._lines))
        self.refresh()

    def on_resize(self, _event: Resize) -> None:
        if self._wrapped_to != self._width:
            self._wrap_all()
        self.call_after_refresh(self._keep_end_in_view)

    @staticmethod
    def _label(line: _Line) -> str:
        return set_cell_size(line.label, LABEL - 1) + " "

    def _drawn(self, line: _Line) -> str:
        return (self._label(line) if self._labels else "") + line.text

    def render_line(self, y: int) -> Strip:
        row = y + self.scroll_offset.y
        width = self.size.width
        base = self.rich_style
        if row >= len(self._lines):
            return Strip.blank(width, base)
        line = self._lines[row]
        text = Text(no_wrap=True, end="")
        if self._labels:
            text.append(self._label(line), base + self._style("label"))
        text.append(line.text, base + self._style(line.kind))
        span = self.text_selection.get_span(row) if self.text_selection is not None else None
        if span is not None:
            start, end = span
            chosen = self.screen.get_component_rich_style("screen--selection")
            text.stylize(chosen, start, len(text) if end == -1 else end)
        strip = Strip(text.render(self.app.console), text.cell_len)
        return strip.crop_extend(0, width, base).apply_offsets(0, row)

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"transcript--{part}", partial=True)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(self.text_lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
