"""The command palette over the registry: every action that works on the screen shown, found by its words."""

from textual.command import DiscoveryHit, Hit, Hits, Provider

from fqconsole.app.actions import Action, actions_of
from fqconsole.app.screens.mode_screen import ModeScreen


class ActionCommands(Provider):
    """Actions of the screen first, then those that work everywhere."""

    def _actions(self) -> tuple[Action, ...]:
        mode = self.screen.MODE if isinstance(self.screen, ModeScreen) else ""
        found = [item for where in (mode, "everywhere") for item in actions_of(where) if item.palette]
        return tuple(self.screen.console.as_bound(found) if isinstance(self.screen, ModeScreen) else found)

    async def _run(self, item: Action) -> None:
        await self.app.run_action(item.call, self.screen)

    async def discover(self) -> Hits:
        for item in self._actions():
            yield DiscoveryHit(self._title(item), lambda item=item: self._run(item), help=self._help(item))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for item in self._actions():
            title = self._title(item)
            score = max(matcher.match(title), matcher.match(f"{item.where} {item.label}"))
            if score > 0:
                yield Hit(
                    score, matcher.highlight(title), lambda item=item: self._run(item), help=self._help(item)
                )

    @staticmethod
    def _title(item: Action) -> str:
        return item.description

    @staticmethod
    def _help(item: Action) -> str:
        return f"{item.where} · {item.label}" + (f" · {item.all_keys}" if item.keys else "")
