"""A bordered region with its title in the border; the one in focus has the brighter border."""

from typing import ClassVar

from textual.containers import Vertical


class Panel(Vertical):
    """`HELP` is what F1 says while the focus is in this panel."""

    ALLOW_MAXIMIZE = True
    HELP: ClassVar[str] = ""

    def __init__(self, *children: object, title: str = "", id: str | None = None, classes: str = "") -> None:
        super().__init__(*children, id=id, classes=classes)  # type: ignore[arg-type]
        self.border_title = title
