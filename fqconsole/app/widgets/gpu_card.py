"""One GPU: its readings and their last minutes, as large as there is room for it."""

from typing import Any, ClassVar

from textual.content import Content
from textual.widget import Widget

from fqconsole.app import gpu_view
from fqconsole.app.gpu_history import GpuHistory
from fqconsole.app.gpu_layout import GpuLayout
from fqconsole.app.widgets.gpu_strip import gpu_line


class GpuCard(Widget):
    """The title names the GPU; on one line there is neither title nor border."""

    HELP: ClassVar[str] = (
        "N/A is a reading that this GPU, or this container, does not give. Nothing here can be changed."
    )

    def __init__(self, index: int) -> None:
        super().__init__(id=f"gpu-{index}")
        self._index = index
        self._snapshot: Any = None
        self._history = GpuHistory()
        self._layout = GpuLayout("card", 1, 5)

    def show(self, snapshot: Any, history: GpuHistory, layout: GpuLayout) -> None:
        if layout != self._layout:
            self._layout = layout
            self.set_class(layout.look == "line", "-line")
            self.styles.height = layout.height
        self._snapshot, self._history = snapshot, history
        self.border_title = f"GPU {snapshot.index} · {snapshot.name}"
        self.border_subtitle = gpu_view.held_words(snapshot)
        self.refresh()

    def render(self) -> Content:
        if self._snapshot is None:
            return Content("")
        width, height = self.size
        if self._layout.look == "line":
            note = "! held" if self._snapshot.throttle else ""
            return Content(gpu_line(self._snapshot, self._history.series(self._index, "utilization"), note))
        if self._layout.look == "graphs":
            return Content("\n".join(gpu_view.gpu_graphs(self._snapshot, self._history, width, height)))
        return Content("\n".join(gpu_view.gpu_lines(self._snapshot, self._history, width)))
