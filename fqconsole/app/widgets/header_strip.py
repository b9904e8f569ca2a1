"""The first line: the name of the program and the six screens, the one that is shown in brackets."""

from collections.abc import Mapping

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widget import Widget

from fqconsole.app.modes import MODES

NAME = " fqconsole  "


def head(banner: str) -> str:
    """The first cells of the line: the name, or the banner where there is one."""
    return f" {banner}".ljust(len(NAME) - 1) + " " if banner else NAME


class HeaderStrip(Widget):
    """`badges` holds what stands behind a screen's name: the progress of its job."""

    class Picked(Message):
        """A screen's name was clicked."""

        def __init__(self, mode: str) -> None:
            super().__init__()
            self.mode = mode

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current
        self._badges: Mapping[str, str] = {}

    def show_badges(self, badges: Mapping[str, str]) -> None:
        if badges != self._badges:
            self._badges = dict(badges)
            self.refresh()

    @property
    def _banner(self) -> str:
        return str(getattr(self.app, "banner", ""))

    def _words(self) -> list[tuple[str, str]]:
        words = []
        for mode in MODES:
            badge = self._badges.get(mode.name, "")
            text = f"{mode.digit} {mode.title}" + (f" {badge}" if badge else "")
            words.append((mode.name, f"[{text}]" if mode.name == self._current else f" {text} "))
        return words

    def render(self) -> Content:
        banner = self._banner
        style = "bold $background on $warning" if banner else "bold $accent"
        parts: list[Content] = [Content.styled(head(banner), style)]
        for index, (name, word) in enumerate(self._words()):
            if index:
                parts.append(Content(" "))
            parts.append(
                Content.styled(word, "bold $primary" if name == self._current else "$foreground 70%")
            )
        return Content("").join(parts)

    def on_click(self, event: Click) -> None:
        left = len(head(self._banner))
        for name, word in self._words():
            if left <= event.x < left + len(word):
                self.post_message(self.Picked(name))
                return
            left += len(word) + 1
