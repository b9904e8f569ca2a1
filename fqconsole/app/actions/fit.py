"""Actions of the Fit screen."""

from fqconsole.app.actions.action import Action

ACTIONS = (Action("fit.quantize", ("enter",), "quantize", "quantize", "Go on to quantize with this choice"),)
