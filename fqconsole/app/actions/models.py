"""Actions of the Models screen."""

from fqconsole.app.actions.action import Action

ACTIONS = (
    Action("models.plan", ("enter",), "plan", "plan", "Choose this model and see what fits"),
    Action("models.filter", ("slash",), "filter", "filter", "Filter the list by name or architecture"),
    Action("models.sort", ("s",), "sort", "sort", "Change the order of the list"),
    Action("models.reload", ("r",), "reload", "reload", "Look for models again"),
)
