"""One GPU: its readings and their last minute."""

from typing import Any, ClassVar

from textual.content import Content
from textual.widget import Widget

from fqconsole.app import gpu_view
from fqconsole.app.gpu_history import GpuHistory


class GpuCard(Widget):
    """As large as its text; the title names the GPU."""

    HELP: ClassVar[str] = (
        "N/A is a reading that this GPU, or this container, does not give. Nothing here can be changed."
    )

    def __init__(self, index: int) -> None:
        super().__init__(id=f"gpu-{index}")
        self._index = index
        self._lines: list[str] = []
        self._snapshot: Any = None
        self._history: GpuHistory | None = None

    def show(self, snapshot: Any, history: GpuHistory) -> None:
        self._snapshot, self._history = snapshot, history
        self.border_title = f"GPU {snapshot.index} · {snapshot.name}"
        self.border_subtitle = gpu_view.held_words(snapshot)
        self.refresh()

    def render(self) -> Content:
        if self._snapshot is None:
            return Content("")
        return Content("\n".join(gpu_view.gpu_lines(self._snapshot, self._history, self.size.width)))
