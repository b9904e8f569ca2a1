"""Actions of the Session screen."""

from fqconsole.app.actions.action import Action

ACTIONS: tuple[Action, ...] = ()
