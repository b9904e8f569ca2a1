"""Every precision by every number of GPUs: a sign, the bytes on each device, the share of what is free."""

from collections.abc import Mapping
from typing import Any, ClassVar

from textual.content import Content
from textual.widget import Widget

from fqconsole.app import fit_view, formatting
from fqconsole.app.verdicts import COLOURS

CELL = 17  # cells of one option
GAP = 1  # of them behind it, which the last one does without
HEAD = 9  # cells of the precision
MEASURED = 25  # cells of what was measured last


class OptionTable(Widget):
    """Draws a whole preview; the chosen option stands out."""

    HELP: ClassVar[str] = (
        "✓ fits · ! tight: fits, but under the safety margin · ✗ does not fit. Sizes are for each GPU. Last "
        "measured: the run, what it took, and how far that was from what had been predicted of it."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._preview: Any = None
        self._bits = 0
        self._gpus = 0
        self._history: dict[int, Any] = {}

    def show(self, preview: Any, bits: int, gpus: int, history: Mapping[int, Any]) -> None:
        """`bits` 0: none of them is chosen. `history` holds what was measured last, by bits."""
        self._preview, self._bits, self._gpus, self._history = preview, bits, gpus, dict(history)
        self.refresh()

    def render(self) -> Content:
        preview = self._preview
        if preview is None:
            return Content("")
        host = fit_view.on_host(preview.capacity)
        room = (self.size.width - HEAD - (MEASURED if self._history else -GAP)) // CELL
        counts = fit_view.columns_shown(fit_view.gpu_counts(preview), self._gpus, room)
        heads = ["  this machine" if host else f"  {n} GPU{'' if n == 1 else 's (each)'}" for n in counts]
        head = " " * HEAD + "".join(f"{head:<{CELL}}" for head in heads)
        if self._history:
            head += "  last measured"
        lines = [Content.styled(head.rstrip(), "$foreground 60%")]
        lines += [self._line(preview, bits, counts, host) for bits in fit_view.precisions(preview)]
        return Content("\n").join(lines)

    def _line(self, preview: Any, bits: int, counts: list[int], host: bool) -> Content:
        here = bits == self._bits
        parts: list[Any] = [("▌ " if here else "  ", "$primary")]
        parts.append((f"{formatting.precision(bits):<7}", "bold" if here else ""))
        for count in counts:
            option = fit_view.chosen(preview, bits, count)
            colour = COLOURS[option.verdict]
            picked = here and (host or count == self._gpus)
            cell = fit_view.option_cell(option)
            parts.append((cell, f"bold reverse {colour}" if picked else colour))
            if count != counts[-1] or bits in self._history:
                parts.append(" " * (CELL - len(cell)))
        if bits in self._history:
            parts.append((f" {fit_view.measured_words(self._history[bits])}", "$foreground 80%"))
        return Content.assemble(*parts)
