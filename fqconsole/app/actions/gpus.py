"""Actions of the GPUs screen."""

from fqconsole.app.actions.action import Action

ACTIONS: tuple[Action, ...] = ()
