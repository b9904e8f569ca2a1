"""Drives a Session on a stage by its keys, and reads what stands there."""

from fqconsole.app.widgets.balance_panel import BalancePanel
from fqconsole.app.widgets.prompt_field import PromptField
from tests.app.conftest import settled
from tests.app.session_fakes import SessionStage

STORY = "One snowy morning"


class Driver:
    """A stage and the pilot on it."""

    def __init__(self, stage, pilot):
        self.stage, self.pilot, self.app = stage, pilot, stage.app

    async def keys(self, *names):
        for name in names:
            await self.pilot.press(name)
            await settled(self.pilot)

    async def settle(self):
        await settled(self.pilot)

    @property
    def screen(self):
        return self.app.screen

    @property
    def prompt(self):
        return self.app.screen.query_one(PromptField).text

    def text(self, side="a"):
        return "\n".join(self.screen.query_one(f"#session-{side}").transcript.text_lines)

    def words(self, side="a"):
        """The text as one line, wherever it was wrapped."""
        return " ".join(self.text(side).split())

    def meters(self, side="a"):
        return str(self.screen.query_one(f"#session-{side} .meters").render())

    @property
    def balance(self):
        panel = self.screen.query_one(BalancePanel)
        return str(panel.query_one("#session-balance-lines").render()) if panel.display else ""

    @property
    def footer(self):
        return {item.id: word for item, word in self.screen.footer_entries()}

    def run(self, run_id):
        with self.stage.open_store() as store:
            return store.run(run_id)


def stage_in(folder):
    """`async with stage_in(folder)(first=…) as driver`: the Session is open on the checkpoint."""

    class Opened:
        def __init__(self, size=(80, 24), *, open_session=True, **options):
            self.stage = SessionStage(folder, **options)
            self.size, self.open_session = size, open_session

        async def __aenter__(self):
            self.running = self.stage.app.run_test(size=self.size)
            pilot = await self.running.__aenter__()
            await settled(pilot)
            if self.open_session:
                self.stage.open_session()
                await settled(pilot)
            return Driver(self.stage, pilot)

        async def __aexit__(self, *error):
            await self.running.__aexit__(*error)

    return Opened
