"""The panel below the list of runs: one run in words, or a comparison of several."""

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer
from textual.content import Content
from textual.widgets import Static

from fqconsole.app import run_view
from fqconsole.app.widgets.panel import Panel

if TYPE_CHECKING:
    from store import Comparison, Run


class RunText(ScrollableContainer, can_focus=True):
    """Lines to read; a comparison of many runs scrolls sideways too."""

    HELP: ClassVar[str] = (
        "What is known of the run in the list, or what differs between runs: two marked ones, the marked one "
        "and that under the cursor, or this one and the baseline of its model. Changes are told as better, "
        "worse or within noise. d shows also what is the same, i the details of the run."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "down", show=False),
        Binding("up,k", "scroll_up", "up", show=False),
        Binding("right,l", "scroll_right", "right", show=False),
        Binding("left,h", "scroll_left", "left", show=False),
    ]

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, content: Content, *, wrap: bool) -> None:
        text = self.query_one(Static)
        text.set_class(wrap, "-wrap")
        text.update(content)


class RunPanel(Panel):
    """Told what to show; knows no store."""

    def __init__(self, *, title: str, id: str) -> None:
        super().__init__(title=title, id=id)
        self._run: Run | None = None  # whose details are shown

    def compose(self) -> ComposeResult:
        yield RunText(id="runs-text")

    def on_resize(self) -> None:
        if self._run is not None:
            self.show_details(self._run)

    def show_nothing(self, words: str) -> None:
        self._show("Run", "", Content.styled(words, "$foreground 60%"), wrap=True)

    def show_details(self, run: "Run") -> None:
        found = run_view.details(run, self.query_one(RunText).scrollable_content_region.width)
        lines = [
            Content.styled(line, "$text-error") if line.startswith("✗") else Content(line) for line in found
        ]
        self._show(run_view.details_title(run), "", Content("\n").join(lines), wrap=True)
        self._run = run

    def show_comparison(self, comparison: "Comparison", *, everything: bool) -> None:
        same = f"{comparison.same} more lines are the same: d" if comparison.same else ""
        title = run_view.comparison_title(comparison, everything=everything)
        self._show(title, same, run_view.comparison_lines(comparison), wrap=False)

    def _show(self, title: str, subtitle: str, content: Content, *, wrap: bool) -> None:
        self._run = None
        self.border_title = Text(title)
        self.border_subtitle = subtitle
        self.query_one(RunText).show(content, wrap=wrap)
