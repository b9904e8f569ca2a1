"""The last line: at most eight keys that matter here, each with its word; the palette holds the rest."""

from collections.abc import Sequence

from textual.content import Content
from textual.events import Click
from textual.widget import Widget

from fqconsole.app.actions import Action

MOST = 8
GAP = "  "


class KeyFooter(Widget):
    """Shows (action, word) pairs; a click runs the action on the screen."""

    def __init__(self, entries: Sequence[tuple[Action, str]] = ()) -> None:
        super().__init__()
        self._entries = tuple(entries)

    def show(self, entries: Sequence[tuple[Action, str]]) -> None:
        """Raises ValueError for more than eight entries: the line must fit 80 cells."""
        if len(entries) > MOST:
            raise ValueError(f"a footer holds at most {MOST} keys, not {len(entries)}")
        if tuple(entries) != self._entries:
            self._entries = tuple(entries)
            self.refresh()

    @property
    def text(self) -> str:
        return GAP.join(f"{action.key} {word}" for action, word in self._entries)

    def render(self) -> Content:
        parts = [
            Content.assemble((action.key, "bold $accent"), (f" {word}", "$foreground 80%"))
            for action, word in self._entries
        ]
        return Content(GAP).join(parts)

    async def on_click(self, event: Click) -> None:
        left = 0
        for action, word in self._entries:
            width = len(f"{action.key} {word}")
            if left <= event.x < left + width:
                await self.app.run_action(action.call, self.screen)
                return
            left += width + len(GAP)
