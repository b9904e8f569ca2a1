"""How the console looks by the operator's settings: theme, ASCII, motion."""

from typing import Any

from textual.app import App
from textual.widget import Widget

from fqconsole.app.ascii_filter import AsciiFilter
from fqconsole.app.control_filter import ControlFilter
from fqconsole.app.theme import THEMES
from fqconsole.settings import Screen


def dress(app: App[Any], look: Screen) -> None:
    """Make the app look as the settings say; called once, before the first paint."""
    for theme in THEMES:
        app.register_theme(theme)
    app.theme = look.theme
    app._filters.append(ControlFilter())
    if look.ascii:
        app._filters.append(AsciiFilter())
    if look.reduced_motion:
        app.animation_level = "none"


def next_theme(name: str) -> str:
    """The theme after this one."""
    names = [theme.name for theme in THEMES]
    return names[(names.index(name) + 1) % len(names)] if name in names else names[0]


def hold_still(widget: Widget) -> None:
    """Reduced motion: the cursor of this field does not blink."""
    if hasattr(widget, "cursor_blink"):
        widget.cursor_blink = False
