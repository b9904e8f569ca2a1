"""Size against predicted loss, drawn as large as there is room for."""

from collections.abc import Sequence
from typing import ClassVar

from textual.content import Content
from textual.widget import Widget

from fqconsole.app.frontier_chart import chart
from fqconsole.app.planned import Planned

Point = tuple[float, float]


class FrontierPlot(Widget):
    """Shows the frontier of a goal and the plan on it, or lines that say why there is none yet."""

    HELP: ClassVar[str] = (
        "Each dot is a plan: no plan of its size is predicted to lose less. ● is the plan of this goal. The "
        "predicted loss is the noise that rounding adds to what the matrices make, weighted by how much each "
        "matters; it compares plans of one model."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._points: tuple[Point, ...] = ()
        self._chosen: Point | None = None
        self._lines: tuple[str, ...] = ()

    def show(self, made: Planned | None, lines: Sequence[str] = ()) -> None:
        """`lines` are shown where there is nothing to draw."""
        self._points = made.frontier if made is not None else ()
        known = made is not None and made.loss is not None and made.plan is not None
        self._chosen = (made.bits_per_weight, made.loss) if known and made is not None and made.loss else None
        self._lines = tuple(lines)
        self.refresh()

    def render(self) -> Content:
        drawn = chart(self._points, self._chosen, self.size.width, self.size.height)
        if self._lines or not drawn:
            return Content("\n".join(self._lines))
        return Content("\n".join(drawn))
