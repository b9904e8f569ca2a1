"""The log drawer while jobs say more than anybody can read."""

from textual.widgets import Log

from fqconsole.app.console import FqConsole
from fqconsole.app.screens.dialogs import AT_ONCE
from fqconsole.jobs.messages import LogLine
from tests.app.conftest import settled
from tests.app.fakes import NOW, fake_services


async def test_of_a_flood_the_end_is_shown_and_how_much_was_left_out():
    app = FqConsole(fake_services())
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        for number in range(AT_ONCE + 700):
            app.jobs.log.take(LogLine(t=NOW, level="info", text=f"line {number}"))
        await pilot.press("f8")
        await settled(pilot)
        lines = app.screen.query_one(Log).lines
        assert lines[0] == "… 700 lines are only in the full log"
        assert lines[1] == "16:00:00 line 700" and lines[AT_ONCE] == f"16:00:00 line {AT_ONCE + 699}"
