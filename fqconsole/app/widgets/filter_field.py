"""The filter over the list of runs: below it stands what may follow, and Tab takes the first of that."""

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from fqconsole.app.visible_text import one_line

if TYPE_CHECKING:
    from store.filter_hints import Hint

GAP = "  "


def hint_line(hint: "Hint", width: int) -> str:
    """The options that fit in `width` cells, then what is asked; "tab" stands before the one it takes."""
    line = ""
    for place, option in enumerate(hint.options):
        word = one_line(option)
        part = f"tab {word}" if place == 0 else GAP + word
        if cell_len(line + part) > width:
            break
        line += part
    about = one_line(hint.about)
    if not line or (about and cell_len(line) + len(GAP) + cell_len(about) <= width):
        line = f"{line}{GAP if line else ''}{about}"
    return line


class FilterInput(Input):
    """An input whose Tab completes; where there is nothing to complete it moves on as everywhere."""

    HELP: ClassVar[str] = (
        "Terms that must all hold: bits<=4, model:qwen, kind:generate,evaluate, status:done, ppl<12, "
        "tok_s>100, size<8GiB, tag:demo, age<7d. A minus before a term turns it round; other words are "
        'looked for in prompts, answers and notes, "two words" as a phrase. Below stands what may follow; '
        "tab takes the first. ⏎ goes to the list, esc shows all runs."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", "complete", show=False)]

    completion: str = ""

    def action_complete(self) -> None:
        if self.completion and self.completion != self.value and self.cursor_position == len(self.value):
            self.value = self.completion
            self.cursor_position = len(self.value)
        else:
            self.screen.focus_next()


class FilterField(Vertical):
    """The input and the line below it, which is there only while the input has the focus."""

    def __init__(self, *, input_id: str, id: str) -> None:
        super().__init__(id=id)
        self._input_id = input_id
        self._hint: Hint | None = None

    def compose(self) -> ComposeResult:
        yield FilterInput(placeholder="/ filter: bits<=4 model:qwen, or words", id=self._input_id)
        yield Static(classes="hint quiet", markup=False)

    @property
    def input(self) -> FilterInput:
        return self.query_one(FilterInput)

    def show_hint(self, hint: "Hint") -> None:
        """What may follow now."""
        self._hint = hint
        self.input.completion = hint.filled() if hint.options else ""
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def on_descendant_focus(self) -> None:
        self._draw()

    def on_descendant_blur(self) -> None:
        self._draw()

    def _draw(self) -> None:
        line = self.query_one(".hint", Static)
        line.display = self.input.has_focus and self._hint is not None
        if self._hint is not None:
            line.update(hint_line(self._hint, max(0, self.size.width)))
