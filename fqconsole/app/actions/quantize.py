"""Actions of the Quantize screen."""

from fqconsole.app.actions.action import Action

ACTIONS = (
    Action("quantize.go", ("enter",), "go", "start", "Start the job; on a finished one, talk to its result"),
    Action(
        "quantize.evaluate",
        ("v",),
        "evaluate",
        "measure",
        "Measure what the result lost against the 16-bit model",
    ),
    Action("quantize.pause", ("space",), "pause", "pause", "Hold the job after this matrix, or let it go on"),
    Action(
        "quantize.cancel",
        ("x",),
        "cancel",
        "cancel",
        "Cancel the job; finished shards stay for a later resume",
    ),
    Action("quantize.sort", ("s",), "sort", "sort", "Sort the matrices by error, by layer or by size"),
    Action(
        "quantize.resume", ("r",), "resume", "resume", "Go on with a run that was cut short; asks which one"
    ),
    Action("quantize.view", ("w",), "view", "view", "Turn between the map of bits, the errors and the plot"),
)
