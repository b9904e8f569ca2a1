"""A state of a screen: which console it needs, and the keys that lead to it."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from fqconsole.app.console import FqConsole
from tests.app.conftest import settled
from tests.app.fakes import FakeJob, JobScripts, fake_services

Step = str | Callable[[Pilot[Any]], Awaitable[None]]
SIZES = ((80, 24), (120, 40), (200, 60))
TOO_SMALL = ((60, 20), (20, 5))
PAUSES = 6  # where something is held for ever, "nothing is under way" never comes


@dataclass
class Place:
    """Where a state is built: a folder of its own, and what must be let go before its console can end."""

    folder: Path
    ends: ExitStack


Build = Callable[[Place], tuple[FqConsole, Iterable[Step]]]


@dataclass(frozen=True)
class State:
    """`held`: some worker never ends, so that nobody may wait for it."""

    name: str
    build: Build
    held: bool = False
    sizes: tuple[tuple[int, int], ...] = SIZES

    async def reach(self, pilot: Pilot[Any], steps: Iterable[Step]) -> None:
        """Take every step, and wait after each until the console is at rest."""
        await self.rest(pilot)
        for step in steps:
            if isinstance(step, str):
                await pilot.press(step)
            else:
                await step(pilot)
            await self.rest(pilot)

    async def rest(self, pilot: Pilot[Any]) -> None:
        """Wait until what is shown is what stays."""
        if not self.held:
            await settled(pilot)
            return
        for _ in range(PAUSES):
            await pilot.pause()


def console(
    *steps: Step, jobs: dict[str, FakeJob] | Callable[[], dict[str, FakeJob]] | None = None, **changes: Any
) -> Build:
    """A console on stand-ins. `jobs` makes what each kind of worker tells; `changes` replaces services."""

    def build(place: Place) -> tuple[FqConsole, Iterable[Step]]:
        scripts = jobs() if callable(jobs) else jobs or {}
        made = {name: change(place) if isinstance(change, In) else change for name, change in changes.items()}
        return FqConsole(fake_services(jobs=JobScripts(**scripts), **made)), steps

    return build


@dataclass(frozen=True)
class In:
    """A service that needs the place of the state."""

    make: Callable[[Place], Any]

    def __call__(self, place: Place) -> Any:
        return self.make(place)


def never(place: Place) -> Callable[..., Any]:
    """A service that does not answer while the picture is taken."""
    import threading

    gate = threading.Event()
    place.ends.callback(gate.set)

    def wait(*_words: Any, **_options: Any) -> Any:
        gate.wait(60)
        raise RuntimeError("the picture is taken")

    return wait


def typed(text: str) -> Step:
    """The keys that type this text, one after the other without a look at the screen."""

    async def write(pilot: Pilot[Any]) -> None:
        await pilot.press(*text)

    return write
