"""States of the Runs screen."""

from collections.abc import Callable, Iterable
from typing import Any

from textual.pilot import Pilot

from fqconsole.app.console import FqConsole
from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.jobs import runs
from store import Store, StoreError
from tests.app.fakes import fake_services
from tests.app.gallery.state import Build, In, Place, State, Step, console, never, typed
from tests.app.run_seeds import seed, seed_many_sizes


def no_runs(_store: Store) -> None:
    """A database in which nothing was done yet."""


def one_of_each(store: Store) -> None:
    from pathlib import Path

    seed(store, Path())


def listed(*steps: Step, fill: Callable[[Store], None] = one_of_each) -> Build:
    """Runs on a real database; a step like "r0002" puts the cursor there."""

    def build(place: Place) -> tuple[FqConsole, Iterable[Step]]:
        where = place.folder / "runs.db"
        with Store.open(where) as store:
            fill(store)
        app = FqConsole(fake_services(open_store=lambda: Store.open(where), begin=runs))
        return app, ("5", *(move_to(step) if is_run(step) else step for step in steps))

    return build


def is_run(step: Step) -> bool:
    return isinstance(step, str) and step.startswith("r0")


def move_to(run_id: Any) -> Step:
    async def move(pilot: Pilot[Any]) -> None:
        pilot.app.screen.query_one(RecordTable).move_to_key(run_id)

    return move


def damaged() -> Any:
    what = "The runs file /data/runs.db is damaged or is no database."
    raise StoreError(what, "Move it away; `sqlite3 runs.db .recover` may save what is in it.")


async def without_note(pilot: Pilot[Any]) -> None:
    pilot.app.clear_notifications()


STATES = (
    State("runs-loading", console("5", open_store=In(never)), held=True),
    State("runs-empty", listed(fill=no_runs)),
    State("runs-list", listed("r0002")),
    State("runs-failed", listed("r0005")),
    State("runs-interrupted", listed("r0006")),
    State("runs-out-of-reach", console("5", without_note, open_store=damaged), held=True),
    State("runs-compared", listed("r0003", "b", "space", "r0002", "space")),
    State("runs-compared-all", listed("r0003", "b", "space", "r0002", "space", "d")),
    State("runs-filtered", listed("slash", typed("kind:generate"), "enter")),
    State("runs-filter-offers", listed("slash", typed("model:"))),
    State("runs-filter-wrong", listed("slash", typed("bits<=four"))),
    State("runs-filter-finds-nothing", listed("slash", typed("nowhere"), "enter")),
    State("runs-outputs", listed("r0002", "space", "r0003", "space", "o")),
    State("runs-delete-asks", listed("r0007", "x")),
    State("runs-note", listed("r0002", "n")),
    State("runs-export", listed("r0002", "space", "e")),
    State("runs-plot", listed("r0008", "p", fill=seed_many_sizes)),
    State("runs-plot-speed", listed("r0008", "p", "x", "y", fill=seed_many_sizes)),
    State("runs-plot-nothing-measured", listed("r0006", "p")),
)
