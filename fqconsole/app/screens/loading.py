"""The six screens by name, each loaded when it is first needed: the first paint waits for one only."""

from importlib import import_module

from fqconsole.app.screens.mode_screen import ModeScreen

CLASSES = {
    "models": "ModelsScreen",
    "fit": "FitScreen",
    "quantize": "QuantizeScreen",
    "session": "SessionScreen",
    "runs": "RunsScreen",
    "gpus": "GpusScreen",
}


def screen_class(name: str) -> type[ModeScreen]:
    """The class of a screen."""
    found: type[ModeScreen] = getattr(import_module(f"fqconsole.app.screens.{name}"), CLASSES[name])
    return found


def make_screen(name: str) -> ModeScreen:
    """A new screen."""
    return screen_class(name)()


def load_all() -> None:
    """Load every screen; in a thread after the first paint, so that no key waits for it later."""
    for name in CLASSES:
        screen_class(name)
