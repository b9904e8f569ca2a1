"""Actions of the Fit screen."""

from fqconsole.app.actions.action import Action

ACTIONS = (
    Action(
        "fit.go",
        ("enter",),
        "go",
        "quantize",
        "Go on: quantize, measure for a goal, or talk in 16 bits",
    ),
    Action("fit.explain", ("e",), "explain", "explain", "Explain every term of the memory of this choice"),
    Action("fit.simulate", ("s",), "simulate", "other GPU", "See what would fit on a GPU that is not here"),
    Action("fit.sixteen", ("t",), "sixteen", "16-bit", "Talk to the model in 16 bits, not quantized"),
    Action("fit.probe", ("p",), "probe", "probe", "Measure here in ten seconds what can't be computed"),
    Action("fit.cancel", ("x",), "cancel", "cancel", "End the measurement or the probe that is under way"),
)
