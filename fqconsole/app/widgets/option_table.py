"""Every precision by every number of GPUs: a sign, the bytes on each device, the share of what is free."""

from typing import Any, ClassVar

from textual.content import Content
from textual.widget import Widget

from fqconsole.app import fit_view, formatting
from fqconsole.app.verdicts import COLOURS

CELL = 17  # cells of one option


class OptionTable(Widget):
    """Draws a whole preview; the chosen option stands out."""

    HELP: ClassVar[str] = (
        "✓ fits · ! tight: fits, but under the safety margin · ✗ does not fit. Sizes are for each GPU."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._preview: Any = None
        self._bits = 0
        self._gpus = 0

    def show(self, preview: Any, bits: int, gpus: int) -> None:
        self._preview, self._bits, self._gpus = preview, bits, gpus
        self.refresh()

    def render(self) -> Content:
        preview = self._preview
        if preview is None:
            return Content("")
        counts = fit_view.gpu_counts(preview)
        host = fit_view.on_host(preview.capacity)
        heads = ["  this machine" if host else f"  {n} GPU{'' if n == 1 else 's (each)'}" for n in counts]
        lines = [
            Content.styled(" " * 9 + "".join(f"{head:<{CELL}}" for head in heads).rstrip(), "$foreground 60%")
        ]
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
            if count != counts[-1]:
                parts.append(" " * (CELL - len(cell)))
        return Content.assemble(*parts)
