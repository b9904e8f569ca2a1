"""Presenter mode: memory, speed and gain in large digits and high contrast, and no log."""

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Vertical
from textual.screen import Screen
from textual.widgets import Digits, Static

from fqconsole.app.messages import JobChanged, JobEvents
from fqconsole.app.presenter_view import Figure, Presented, presented
from fqconsole.app.screens.mode_screen import ModeScreen
from fqconsole.app.theme import CONTRAST

if TYPE_CHECKING:
    from fqconsole.app.console import FqConsole

MOST = 6


class Tile(Vertical):
    """One figure: its name, its digits, its unit."""

    def compose(self) -> ComposeResult:
        yield Static(classes="tile-title", markup=False)
        yield Digits("")
        yield Static(classes="tile-unit", markup=False)

    def show(self, figure: Figure | None) -> None:
        """None leaves the place empty."""
        self.visible = figure is not None
        if figure is not None:
            self.query_one(".tile-title", Static).update(figure.title)
            self.query_one(Digits).update(figure.digits)
            self.query_one(".tile-unit", Static).update(figure.unit)
            self.set_class(figure.good, "-good")


class PresenterScreen(Screen[None]):
    """Lies over the screen that was shown; Esc, P and q go back to it, and the theme is as it was before."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,P,q,ctrl+g", "close", "back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._theme_before = ""
        self._shown: Presented | None = None

    @property
    def console(self) -> "FqConsole":
        from fqconsole.app.console import FqConsole

        return cast(FqConsole, self.app)

    def compose(self) -> ComposeResult:
        yield Static(id="presenter-title", markup=False)
        with Grid(id="presenter-tiles"):
            for _ in range(MOST):
                yield Tile()
        yield Static(id="presenter-note", markup=False)

    def on_mount(self) -> None:
        self._theme_before = self.app.theme
        self.app.theme = CONTRAST.name
        self._show()

    def action_close(self) -> None:
        self.app.theme = self._theme_before
        self.app.pop_screen()

    @on(JobEvents)
    @on(JobChanged)
    def _show(self) -> None:
        hidden = any(
            isinstance(screen, ModeScreen) and screen.hides_names for screen in self.console.screens_alive()
        )
        now = presented(self.console.jobs.handles, hidden=hidden)
        if now == self._shown:
            return
        self._shown = now
        banner = f"{self.console.banner}   " if self.console.banner else ""
        self.query_one("#presenter-title", Static).update(f"{banner}{now.title}")
        self.query_one("#presenter-note", Static).update(now.note)
        for place, tile in enumerate(self.query(Tile)):
            tile.show(now.figures[place] if place < len(now.figures) else None)
