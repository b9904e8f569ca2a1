"""The Session screen."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from fqconsole.app.actions import bindings_of
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.widgets.panel import Panel


class SessionScreen(ModeScreen):
    """Not built yet: says so."""

    MODE = "session"
    FOOTER = ("everywhere.help", "everywhere.palette", "everywhere.quit")
    HELP = "This screen is not built yet."
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("session")]

    def compose_body(self) -> ComposeResult:
        with Panel(title="Session", id="session-panel"):
            yield Static("This screen is not built yet. Press 1 for the models.")
