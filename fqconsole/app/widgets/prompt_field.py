"""Where a prompt is written: its screen binds Enter and the new line."""

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.message import Message
from textual.widgets import TextArea

from fqconsole.app.visible_text import pictured

CONSOLE_KEYS = {"f6", "f7"}  # the text area would select with them


class PromptField(TextArea, inherit_bindings=False):
    """Grows with its text up to what the style sheet allows."""

    HELP: ClassVar[str] = (
        "Write what the model shall answer or continue. Enter sends it, ctrl+j begins a new line, up and "
        "down bring earlier prompts, ctrl+l reads one from a file, esc leaves the field so that 1 to 6 "
        "switch screens; tab comes back."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        binding
        for binding in TextArea.BINDINGS
        if not (isinstance(binding, Binding) and binding.key in CONSOLE_KEYS)
    ]

    class Recalled(Message):
        """The operator wants the prompt before (−1) or after (1) the one that stands there."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True, show_line_numbers=False, highlight_cursor_line=False)

    def write(self, text: str) -> None:
        """Replace what stands there; the cursor goes to the end."""
        self.load_text(text)
        self.move_cursor(self.document.end)

    def get_line(self, line_index: int) -> Text:
        """A line as it is drawn: a pasted control character is a sign, and is sent as it is."""
        line = super().get_line(line_index)
        return Text(pictured(line.plain), end="") if line.plain != pictured(line.plain) else line

    @property
    def _row(self) -> int:
        """The row of the cursor as lines are wrapped."""
        return self.wrapped_document.location_to_offset(self.cursor_location).y

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self._row == 0:
            self.post_message(self.Recalled(-1))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self._row >= self.wrapped_document.height - 1:
            self.post_message(self.Recalled(1))
        else:
            super().action_cursor_down(select)

    async def _on_key(self, event: Key) -> None:
        # Enter belongs to the screen; where that doesn't take it, it must not become a new line by surprise.
        if event.key == "enter":
            event.prevent_default()
            return
        await super()._on_key(event)
