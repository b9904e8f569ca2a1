"""The relative error of each layer as bars, growing while the job runs."""

from collections.abc import Sequence
from typing import ClassVar

from textual.content import Content
from textual.widget import Widget

from fqconsole.app.error_chart import chart


class ErrorPlot(Widget):
    """Draws as large as it is; says what will be here while there is nothing."""

    HELP: ClassVar[str] = (
        "The worst relative error ‖W−Ŵ‖/‖W‖ of each layer, on a logarithmic scale. ▴ under a layer: "
        "a matrix of it was given finer groups than the base, because that pays there."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._layers: tuple[tuple[int, float, bool], ...] = ()
        self._count: int | None = None

    def show(self, layers: Sequence[tuple[int, float, bool]], count: int | None) -> None:
        """`count` is how many layers the model has, so that the bars keep their places."""
        if tuple(layers) != self._layers or count != self._count:
            self._layers, self._count = tuple(layers), count
            self.refresh()

    def render(self) -> Content:
        if not self._layers:
            return Content.styled(
                "The error of each layer is drawn here while the job runs.", "$foreground 60%"
            )
        return Content("\n".join(chart(self._layers, self.size.width, self.size.height, self._count)))
