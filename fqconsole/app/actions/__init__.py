"""The registry of actions: the one list that feeds key bindings, palette, help and docs/console.md."""

from textual.binding import Binding

from fqconsole.app.actions import everywhere, fit, gpus, models, quantize, runs, session
from fqconsole.app.actions.action import Action

ACTIONS: tuple[Action, ...] = (
    *everywhere.ACTIONS,
    *models.ACTIONS,
    *fit.ACTIONS,
    *quantize.ACTIONS,
    *session.ACTIONS,
    *runs.ACTIONS,
    *gpus.ACTIONS,
)

_BY_ID = {action.id: action for action in ACTIONS}


def action(action_id: str) -> Action:
    """The action with this id. Raises KeyError for an id that does not exist."""
    return _BY_ID[action_id]


def actions_of(where: str) -> tuple[Action, ...]:
    """All actions of one screen ("models", "fit", …) or of every screen ("everywhere")."""
    return tuple(item for item in ACTIONS if item.where == where)


def bindings_of(where: str) -> list[Binding]:
    """The key bindings of one screen, or of the console itself ("everywhere")."""
    return [item.binding() for item in actions_of(where) if item.keys]


__all__ = ["ACTIONS", "Action", "action", "actions_of", "bindings_of"]
