"""Actions of the Runs screen."""

from fqconsole.app.actions.action import Action

ACTIONS: tuple[Action, ...] = ()
