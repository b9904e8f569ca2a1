"""One device's memory as a bar and as terms with their origin, then the verdict."""

import textwrap
from typing import Any, ClassVar

from textual.content import Content
from textual.widget import Widget

from fqconsole.app import fit_view
from fqconsole.app.verdicts import COLOURS


class MemoryBreakdown(Widget):
    """Draws an Option of the preview against its Capacity; what it says is made in `fit_view`."""

    HELP: ClassVar[str] = (
        "The bar is one device: / is held by others, then each term in its own sign, · is free. Each "
        "term says where it comes from: headers are exact, a formula is computed, a default is assumed. "
        "e says more."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._option: Any = None
        self._capacity: Any = None
        self._problem = ""

    def show(self, option: Any, capacity: Any) -> None:
        self._option, self._capacity, self._problem = option, capacity, ""
        self.refresh()

    def show_problem(self, problem: str) -> None:
        self._problem = problem
        self.refresh()

    def render(self) -> Content:
        if self._problem:
            return Content("\n".join(textwrap.wrap(self._problem, max(20, self.size.width))))
        option = self._option
        if option is None:
            return Content.styled("Computing …", "$foreground 60%")
        width = self.size.width
        terms = fit_view.shown_terms(option)
        lines = [Content(fit_view.memory_bar(terms, self._capacity, width))]
        lines.append(Content.styled(f"{fit_view.BAR_LEGEND:<20}{'estimate':>9}  from", "$foreground 60%"))
        after = [
            Content(fit_view.total_line(option, width)),
            Content.styled(fit_view.verdict_line(option), f"bold {COLOURS[option.verdict]}"),
        ]
        if option.smallest_change and option.verdict != "fits":
            after += [Content(line) for line in fit_view.change_lines(option, width)]
        room = self.size.height - len(lines) - len(after)
        lines += [*map(Content, fit_view.term_lines(terms, width, room)), *after]
        more = fit_view.explanation(option, self._capacity)
        if len(lines) + 1 + len(more) <= self.size.height:
            lines += [Content(""), *(Content.styled(line, "$foreground 60%") for line in more)]
        return Content("\n").join(lines)
