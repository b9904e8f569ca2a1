"""The Runs screen."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from fqconsole.app.actions import bindings_of
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.widgets.panel import Panel


class RunsScreen(ModeScreen):
    """Not built yet: says so."""

    MODE = "runs"
    FOOTER = ("everywhere.help", "everywhere.palette", "everywhere.quit")
    HELP = "This screen is not built yet."
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of("runs")]

    def compose_body(self) -> ComposeResult:
        with Panel(title="Runs", id="runs-panel"):
            yield Static("This screen is not built yet. Press 1 for the models.")
