"""The Runs screen on a real run database: finding, comparing, annotating, exporting, going on."""

import pytest
from textual.widgets import Button, Input, OptionList

from fqconsole.app.console import FqConsole
from fqconsole.app.screens.dialogs import Question
from fqconsole.app.screens.run_dialogs import OutputsDialog
from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.app.widgets.run_panel import RunPanel
from fqconsole.jobs import runs
from fqconsole.jobs.messages import StartSession
from store import Store
from tests.app.conftest import settled
from tests.app.fakes import NOW, JobScripts, fake_services
from tests.app.run_seeds import OTHER_STORY, PROMPT, STORY, begin, seed


class Driver:
    def __init__(self, folder, *, seeded=True, fill=None):
        self.folder = folder
        with self.open_store() as store:
            if seeded:
                seed(store, folder)
            if fill is not None:
                fill(store)
        self.jobs = JobScripts()
        self.app = FqConsole(fake_services(open_store=self.open_store, begin=runs, start_job=self.jobs))

    def open_store(self):
        return Store.open(self.folder / "runs.db")

    async def keys(self, *names):
        for name in names:
            await self.pilot.press(name)
            await settled(self.pilot)

    async def type(self, words):
        await self.keys(*("space" if letter == " " else letter for letter in words))

    async def go_to(self, run_id):
        self.table.focus()
        self.table.move_to_key(run_id)
        await settled(self.pilot)

    @property
    def screen(self):
        return self.app.screen

    @property
    def table(self):
        return self.screen.query_one(RecordTable)

    @property
    def listed(self):
        return [self.table.texts(row)[0].strip() for row in range(self.table.row_count)]

    @property
    def panel(self):
        panel = self.screen.query_one(RunPanel)
        return f"{panel._border_title}\n{panel.query_one('RunText Static').render()}"

    def text(self, name):
        return str(self.screen.query_one(name).render())


@pytest.fixture
def runs_screen(tmp_path):
    class Opened:
        def __init__(self, size=(80, 24), **options):
            self.driver, self.size = Driver(tmp_path, **options), size

        async def __aenter__(self):
            self.running = self.driver.app.run_test(size=self.size)
            self.driver.pilot = await self.running.__aenter__()
            await settled(self.driver.pilot)
            await self.driver.keys("5")
            return self.driver

        async def __aexit__(self, *error):
            await self.running.__aexit__(*error)

    return Opened


async def test_the_latest_run_stands_first_with_its_word(runs_screen):
    async with runs_screen() as driver:
        assert driver.listed == [f"r000{number}" for number in range(9, 0, -1)]
        assert [driver.table.texts(row)[-1].strip() for row in range(5)] == [
            "running", "done", "cancelled", "interrupted", "failed",
        ]  # fmt: skip
        assert driver.table.text_of("r0002", "speed") == "148"


async def test_a_failed_and_an_interrupted_run_say_why(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0005")
        assert "✗ The disk is full: 0.1 of 19.8 GiB are free" in driver.panel
        assert "r0005 · quantize · [gemma]-3-27b-it int3" in driver.panel
        await driver.go_to("r0006")
        assert "! The console that ran it ended before it did." in driver.panel


async def test_the_list_has_the_focus_whatever_the_width_and_when_one_comes_back(runs_screen):
    async with runs_screen(size=(120, 40)) as driver:
        assert driver.table.has_focus
        await driver.keys("1")
        await driver.keys("5")
        assert driver.table.has_focus


async def test_the_filter_narrows_the_list_and_esc_shows_all(runs_screen):
    async with runs_screen() as driver:
        await driver.keys("slash")
        await driver.type("bits<=4 lantern")
        assert driver.listed == ["r0002"]
        await driver.keys("enter")
        assert driver.table.has_focus
        await driver.keys("escape")
        assert len(driver.listed) == 9


async def test_a_filter_that_can_not_be_read_is_a_sentence_and_leaves_the_list(runs_screen):
    async with runs_screen() as driver:
        driver.screen.query_one("#runs-filter", Input).value = "modle:x"
        await settled(driver.pilot)
        assert driver.text("#runs-problem").startswith("There is no column “modle”. Did you mean model")
        assert len(driver.listed) == 9


async def test_tab_takes_what_the_filter_offers_and_else_moves_on(runs_screen):
    async with runs_screen() as driver:
        await driver.keys("slash")
        assert driver.text(".hint").startswith("tab bits<=  model:")
        await driver.type("sta")
        assert driver.text(".hint").strip() == "tab status:  started<"
        assert len(driver.listed) == 9  # half a column is no word to look for
        await driver.keys("tab")
        assert driver.text(".hint").startswith("tab done  cancelled")
        await driver.type("f")
        await driver.keys("tab")
        assert driver.screen.query_one("#runs-filter", Input).value == "status:failed"
        assert driver.listed == ["r0005"]
        await driver.keys("tab")
        assert driver.table.has_focus
        assert not driver.screen.query_one(".hint").display


async def test_half_a_column_that_is_entered_is_a_word(runs_screen):
    async with runs_screen() as driver:
        await driver.keys("slash")
        await driver.type("perplex")
        assert len(driver.listed) == 9
        await driver.keys("enter")
        assert driver.text("#runs-empty") == "No run matches. Esc shows all."


async def test_nothing_matches(runs_screen):
    async with runs_screen() as driver:
        await driver.keys("slash")
        await driver.type("zzz")
        assert driver.text("#runs-empty") == "No run matches. Esc shows all."


async def test_without_runs_it_says_what_to_press(runs_screen):
    async with runs_screen(seeded=False) as driver:
        assert driver.text("#runs-empty").startswith("No runs yet. Press 1")
        await driver.keys("space", "o", "e", "x", "b", "n", "enter")
        assert driver.app.current_mode == "runs"


async def test_sorting(runs_screen):
    async with runs_screen() as driver:
        await driver.keys("s", "s")
        assert driver.text("#runs-order") == "s sort: tok/s ↓"
        assert driver.listed[0] in ("r0001", "r0002")


async def test_two_marked_runs_are_compared_in_words(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0002")
        await driver.keys("space")
        await driver.go_to("r0003")
        await driver.keys("b", "space")
        assert "r0002 against r0003 · only what differs" in driver.panel
        (line,) = [line for line in driver.panel.splitlines() if line.startswith("tok/s")]
        assert line.split() == ["tok/s", "71.3", "148", "+108", "%", "better"]
        before = len(driver.panel.splitlines())
        await driver.keys("d")
        assert len(driver.panel.splitlines()) > before
        await driver.keys("i")
        assert "against" not in driver.panel
        await driver.keys("escape")
        assert "●" not in "".join(driver.listed)


async def test_a_baseline_is_compared_with_without_marking(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0003")
        await driver.keys("b")
        assert driver.table.text_of("r0003", "run") == "◆r0003"
        await driver.go_to("r0002")
        assert "r0002 against r0003" in driver.panel
        await driver.go_to("r0003")
        await driver.keys("b")
        assert driver.table.text_of("r0003", "run") == " r0003"


async def test_outputs_of_marked_runs_stand_side_by_side(runs_screen):
    async with runs_screen() as driver:
        for run_id in ("r0001", "r0003"):
            await driver.go_to(run_id)
            await driver.keys("space")
        await driver.keys("o")
        assert isinstance(driver.screen, OutputsDialog)
        shown = ["\n".join(pane.text_lines) for pane in driver.screen.query("Transcript")]
        assert [" ".join(text.replace("▌", "").split()) for text in shown] == [STORY, OTHER_STORY]
        assert str(driver.screen.query_one("#outputs").border_title) == "Outputs · one prompt"
        await driver.keys("escape")
        assert driver.app.current_mode == "runs"


async def test_more_outputs_than_fit_are_turned_to(runs_screen):
    async with runs_screen() as driver:
        for run_id in ("r0001", "r0002", "r0003"):
            await driver.go_to(run_id)
            await driver.keys("space")
        await driver.keys("o")
        assert len(driver.screen.query("Transcript")) == 2
        await driver.keys("right")
        assert "She lived by the sea." in driver.screen.query("Transcript").last().text_lines[0]
        heads = [str(head.render()) for head in driver.screen.query("OutputPane .head")]
        assert "r0002" in heads[0] and "r0003" in heads[-1]  # the first stays


async def test_words_that_the_first_answer_does_not_have_are_marked(runs_screen):
    async with runs_screen() as driver:
        for run_id in ("r0001", "r0003"):
            await driver.go_to(run_id)
            await driver.keys("space")
        await driver.keys("o")
        marked = []
        for transcript in driver.screen.query("Transcript"):
            (passage,) = transcript._passages
            marked.append([passage.text[start:end] for start, end in passage.marks])
        assert marked == [["found", "red lantern"], ["lost", "blue kite"]]
        meters = [str(line.render()) for line in driver.screen.query("OutputPane .meters")]
        assert "of words the same" not in meters[0] and "79% of words the same" in meters[1]


async def test_no_output_is_a_sentence(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0007")
        await driver.keys("o")
        assert "There is no stored answer" in next(iter(driver.app._notifications)).message


@pytest.mark.parametrize(
    ("place", "ending", "words"),
    [(0, ".md", "| r0002 |"), (1, ".csv", "run_id,"), (2, ".json", '"format"'), (3, ".html", "<html")],
)
async def test_export_writes_a_file_and_says_where(runs_screen, place, ending, words):
    async with runs_screen() as driver:
        await driver.go_to("r0002")
        await driver.keys("space", "e")
        driver.screen.query_one(OptionList).highlighted = place
        await driver.keys("enter")
        (note,) = driver.app._notifications
        assert note.title == "Written" and note.message.endswith(ending)
        (file,) = (driver.folder / "exports").iterdir()
        assert str(file) == note.message and words in file.read_text()


async def test_a_note_and_tags_are_kept_and_found(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0002")
        await driver.keys("n")
        assert driver.screen.query_one("#note-text", Input).value == "for Tuesday's [talk]"
        driver.screen.query_one("#note-tags", Input).value = "#best two"
        await driver.keys("enter")
        with driver.open_store() as store:
            assert store.run("r0002").row.tags == ("best", "two")
        assert "for Tuesday's [talk]   #best #two" in driver.panel


async def test_deleting_asks_and_cancel_is_the_default(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0007")
        await driver.keys("x")
        assert isinstance(driver.screen, Question)
        assert driver.screen.focused is driver.screen.query_one("#safe", Button)
        await driver.keys("enter")
        assert "r0007" in driver.listed
        await driver.keys("x", "right", "enter")
        assert "r0007" not in driver.listed


async def test_a_running_run_can_not_be_deleted(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0009")
        await driver.keys("x", "right", "enter")
        assert "r0009 is still running." in next(iter(driver.app._notifications)).message
        assert "r0009" in driver.listed


async def test_enter_on_an_answer_opens_its_model_with_its_prompt(runs_screen):
    async with runs_screen() as driver:
        (driver.folder / "Qwen3-8B-int4").mkdir()
        await driver.go_to("r0002")
        await driver.keys("enter")
        assert driver.app.current_mode == "session"
        (started, _job) = driver.jobs.started[-1]
        assert isinstance(started, StartSession) and started.model_path.endswith("Qwen3-8B-int4")
        assert driver.app.workspace.session.suggested_prompt == PROMPT
        assert driver.app.workspace.session.parent_run == "r0001"


async def test_enter_where_the_checkpoint_is_gone_plans_the_model_again(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0001")
        await driver.keys("enter")
        assert driver.app.current_mode == "fit"
        assert driver.app.workspace.choice.bits == 4
        assert driver.app.workspace.description.id == "Qwen/Qwen3-8B"


async def test_enter_where_nothing_is_left_is_a_sentence(runs_screen):
    async with runs_screen() as driver:
        await driver.go_to("r0005")
        await driver.keys("enter")
        assert "is no longer there. Press 1" in next(iter(driver.app._notifications)).message


async def test_ten_thousand_runs_open_in_pages(runs_screen):
    def fill(store):
        with store.transaction():
            for number in range(10_000):
                begin(store, "generate", "demo", ago=number, metrics={"decode_tok_s": float(number)}, bits=4)

    async with runs_screen(seeded=False, fill=fill) as driver:
        assert driver.table.row_count == 500
        assert "Runs · 10,000" in str(driver.screen.query_one("#runs-panel")._border_title)
        await driver.keys("G")
        assert driver.table.row_count == 1000


async def test_a_run_that_ends_meanwhile_changes_its_row(runs_screen):
    async with runs_screen() as driver:
        with driver.open_store() as store:
            store.finish_run("r0009", "done", ended=NOW)
        await driver.app.jobs.start(StartSession(model_path="x"), kind="session", title="x")
        await settled(driver.pilot)
        assert driver.table.text_of("r0009", "status").strip() == "done"
