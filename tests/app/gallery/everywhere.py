"""States of what lies over every screen: dialogs, presenter mode, a terminal that is too small."""

from tests.app.gallery.quantize import START, failing, job
from tests.app.gallery.session import on_stage
from tests.app.gallery.state import TOO_SMALL, State, console, typed

STATES = (
    State("help", console("enter", "f1")),
    State("help-in-session", on_stage("f1")),
    State("jump", console("enter", "ctrl+o")),
    State("palette", console("enter", "ctrl+p", typed("theme"))),
    State("settings", console("f9")),
    State("log-of-a-failed-job", console(*START, "f8", jobs=failing)),
    State("quit-asked", console(*START, "q", jobs=job(hold=30))),
    State("presenter-empty", console("P")),
    State("presenter-running", console(*START, "P", jobs=job(hold=40))),
    State("presenter-done", console(*START, "P", jobs=job())),
    State("presenter-failed", console(*START, "P", jobs=failing)),
    State("presenter-two-models", on_stage("enter", "f2", "ctrl+g")),
    State("presenter-blind", on_stage("f12", "enter", "ctrl+g")),
    *(
        State(f"too-small-{name}", console(*keys), sizes=TOO_SMALL)
        for name, keys in (
            ("models", ()),
            ("fit", ("enter",)),
            ("quantize", ("enter", "enter")),
            ("session", ("4",)),
            ("runs", ("5",)),
            ("gpus", ("6",)),
            ("presenter", ("P",)),
            ("dialog", ("f1",)),
        )
    ),
)
