"""A bordered region with its title in the border; the one in focus has the brighter border."""

from typing import ClassVar

from rich.text import Text
from textual.containers import Vertical


class Panel(Vertical):
    """`HELP` is what F1 says while the focus is in this panel."""

    ALLOW_MAXIMIZE = True
    HELP: ClassVar[str] = ""

    def __init__(self, *children: object, title: str = "", id: str | None = None, classes: str = "") -> None:
        super().__init__(*children, id=id, classes=classes)  # type: ignore[arg-type]
        self.border_title = title
        self._named = (title, "")

    def name_it(self, title: str, subtitle: str = "") -> None:
        """Title and subtitle as plain text, drawn anew only where one changed: brackets are no markup."""
        if (title, subtitle) != self._named:
            self._named = (title, subtitle)
            self.border_title, self.border_subtitle = Text(title), Text(subtitle)
