"""Actions of the Quantize screen."""

from fqconsole.app.actions.action import Action

ACTIONS = (
    Action(
        "quantize.go",
        ("enter",),
        "go",
        "start",
        "Start the job; when it is done, open a session on its result",
    ),
)
