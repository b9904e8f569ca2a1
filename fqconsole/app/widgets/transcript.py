"""A text that grows at its end: wrapped once, drawn line by line; the view follows who reads its end."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import set_cell_size
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from fqconsole.app.passage_rows import Passage, PassageRows, Row

__all__ = ["Passage", "Transcript"]

LABEL = 8  # cells of the names before the text
LOOKS = ("strong", "emphasis", "strike", "code", "heading", "link", "differs")
GUTTER = "▌ "  # stands before a line in which something differs
MOST_DRAWN = 2000  # lines kept as they were drawn
NEAR = 2  # lines from the end within which a reader is taken along


class Transcript(ScrollView, can_focus=True):
    """`show` takes all passages; what stands already is laid out again only when the width changes."""

    ALLOW_SELECT = True
    HELP: ClassVar[str] = (
        "What was asked and answered. j and k or the arrow keys scroll, g and G go to the ends. The view "
        "follows a growing answer as long as its end is in sight. c copies the last answer, r shows answers "
        "as they are written, w saves the dialogue, s writes a system prompt. Of two answers side by side "
        "what differs is underlined; they scroll together."
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--label",
        "transcript--said",
        "transcript--answer",
        "transcript--quiet",
        "transcript--problem",
        *(f"transcript--{look}" for look in LOOKS),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "down", show=False),
        Binding("up,k", "scroll_up", "up", show=False),
        Binding("g,home", "scroll_home", "first", show=False),
        Binding("G,end", "scroll_end", "last", show=False),
        Binding("pagedown", "page_down", "page down", show=False),
        Binding("pageup", "page_up", "page up", show=False),
    ]

    class Scrolled(Message):
        """The reader moved the text."""

        def __init__(self, transcript: "Transcript") -> None:
            super().__init__()
            self.transcript = transcript

    def __init__(self, *, labels: bool = True, follow: bool = True, id: str | None = None) -> None:
        """`follow` False: the text is whole and read from its beginning."""
        self._looks: dict[tuple[str, ...], Style] = {}
        self._drawn: dict[int, tuple[Row, Strip]] = {}  # lines as they were drawn last
        super().__init__(id=id)
        self._growing = follow
        self._labels = labels
        self._signs = False
        self._passages: tuple[Passage, ...] = ()
        self._layout = PassageRows()
        self._follow = True  # the reader's view goes along with the end

    @property
    def labels(self) -> bool:
        return self._labels

    @labels.setter
    def labels(self, on: bool) -> None:
        if on != self._labels:
            self._labels = on
            self._drawn.clear()
            self._lay_out()

    @property
    def signs(self) -> bool:
        """Whether there is a column for the sign of lines that differ."""
        return self._signs

    @signs.setter
    def signs(self, on: bool) -> None:
        if on != self._signs:
            self._signs = on
            self._drawn.clear()
            self._lay_out()

    @property
    def text_lines(self) -> list[str]:
        """What is drawn, line by line."""
        return [self._before(row) + row.text for row in self._layout.rows]

    @property
    def near_end(self) -> bool:
        """The reader sees the end, or almost."""
        return self.scroll_offset.y >= self.max_scroll_y - NEAR

    def show(self, passages: Sequence[Passage]) -> None:
        self._follow = self._follow or len(passages) != len(self._passages)
        self._passages = tuple(passages)
        self._lay_out()
        self._keep_end_in_view()

    def read_from_top(self) -> None:
        """The text came as a whole: begin at its beginning."""
        self._follow = False
        self.scroll_home(animate=False, immediate=True, force=True, x_axis=False)
        self._tell_scrollbar()

    def _keep_end_in_view(self) -> None:
        if self._follow and self._growing:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)
            self._tell_scrollbar()

    def _tell_scrollbar(self) -> None:
        """A scrollbar that is not shown yet would appear where it was: Textual tells only a shown one."""
        if self.virtual_size.height > self.size.height:
            self.vertical_scrollbar.position = self.scroll_y

    # Only the reader's own scrolling decides whether the view follows: layouts move it too.

    def _reader_moved(self) -> None:
        self._follow = self.scroll_target_y >= self.max_scroll_y - NEAR
        self.post_message(self.Scrolled(self))

    def go_along(self, other: "Transcript") -> None:
        """Show the place that a reader has gone to in another text, as many lines from its beginning."""
        self._follow = other._follow
        self.scroll_to(y=min(other.scroll_target_y, self.max_scroll_y), animate=False, immediate=True)

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
        self.post_message(self.Scrolled(self))

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

    @property
    def _indent(self) -> int:
        return (LABEL if self._labels else 0) + (len(GUTTER) if self._signs else 0)

    @property
    def _width(self) -> int:
        """Cells for the text: a place is kept for the scrollbar, so that its coming changes no line."""
        return max(4, self.size.width - self.styles.scrollbar_size_vertical - self._indent)

    def _lay_out(self) -> None:
        if self._layout.show(self._passages, self._width):
            self.virtual_size = Size(0, len(self._layout.rows))
            self.refresh()

    def on_resize(self, _event: Resize) -> None:
        self._lay_out()
        self.call_after_refresh(self._keep_end_in_view)

    def _before(self, row: Row) -> str:
        """The label and the sign of a row."""
        label = set_cell_size(row.label, LABEL - 1) + " " if self._labels else ""
        sign = (GUTTER if row.differs else " " * len(GUTTER)) if self._signs else ""
        return label + sign

    def render_line(self, y: int) -> Strip:
        number = y + self.scroll_offset.y
        width = self.size.width
        if number >= len(self._layout.rows):
            return Strip.blank(width, self._look())
        row = self._layout.rows[number]
        span = self.text_selection.get_span(number) if self.text_selection is not None else None
        drawn = self._drawn.get(number)
        if drawn is not None and drawn[0] is row and drawn[1].cell_length == width and span is None:
            return drawn[1]
        text = self._text_of(row)
        if span is not None:
            start, end = span
            chosen = self.screen.get_component_rich_style("screen--selection")
            text.stylize(chosen, start, len(text) if end == -1 else end)
        strip = Strip(text.render(self.app.console), text.cell_len)
        strip = strip.crop_extend(0, width, self._look()).apply_offsets(0, number)
        if span is None:
            if len(self._drawn) > MOST_DRAWN:
                self._drawn.clear()
            self._drawn[number] = (row, strip)
        return strip

    def _text_of(self, row: Row) -> Text:
        text = Text(no_wrap=True, end="")
        before = self._before(row)
        if before:
            text.append(before, self._look("differs" if row.differs and self._signs else "label"))
        for piece in row.pieces:
            text.append(piece.text, self._look(row.kind, *piece.styles))
        return text

    def _look(self, *parts: str) -> Style:
        """The styles of the style sheet laid over each other; looked up once until they change."""
        style = self._looks.get(parts)
        if style is None:
            style = self.rich_style
            for part in parts:
                # Only a whole style knows what it is mixed with: a partial one has no shades.
                style += self.get_component_rich_style(f"transcript--{part}", partial=part in LOOKS)
            self._looks[parts] = style
        return style

    def notify_style_update(self) -> None:
        self._looks.clear()
        self._drawn.clear()
        super().notify_style_update()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(self.text_lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
