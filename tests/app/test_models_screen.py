"""The Models screen by keys: what it lists, looks up and hands on, and how it takes what goes wrong."""

import threading
from dataclasses import dataclass

import msgspec
from textual.widgets import Input, Static

from fqconsole.app.console import FqConsole
from fqconsole.app.messages import ModelChosen, SessionWanted
from fqconsole.app.model_words import kind_of
from fqconsole.app.remembered import Remembered
from fqconsole.app.screens.dialogs import Explanation
from fqconsole.app.widgets.record_table import RecordTable
from fqconsole.errors import OperatorError
from fqconsole.jobs.messages import ConfigDescribed, JobDone, JobFailed, Progress
from fqconsole.models.bare_config import ClassShapes
from fqconsole.models.description import ModelEntry, QuantizationInfo
from store import Store
from tests.app.conftest import settled
from tests.app.fakes import BROKEN, DEMO, ENTRIES, GIB, NOW, QWEN, FakeJob, JobScripts, entry, fake_services
from tests.app.run_seeds import seed
from tests.app.screen_driver import footer, notes, press


def detail(app):
    return str(app.screen.query_one("#models-about", Static).render())


async def test_models_are_listed_with_the_built_in_ones_first_and_described():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        table = app.screen.query_one(RecordTable)
        assert table.row_count == len(ENTRIES)
        assert table.current == "builtin:demo"
        assert table.text_of("cache:Qwen/Qwen3-8B", "parameters") == "8.2B"
        assert "✓ 16-bit" in table.text_of("cache:Qwen/Qwen3-8B", "best")
        assert "8 layers" in str(app.screen.query_one("#models-about", Static).render()) or DEMO.layers != 8


async def test_the_mark_of_the_cursor_moves_with_j_k_g_and_shift_g():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        table = app.screen.query_one(RecordTable)
        for key, row in (("j", 1), ("down", 2), ("k", 1), ("G", len(ENTRIES) - 1), ("g", 0)):
            await press(pilot, key)
            lines = [table.render_line(y).text for y in range(1, table.row_count + 1)]
            assert [line.startswith("▌ ") for line in lines].index(True) == row
            assert sum("▌" in line for line in lines) == 1


async def test_the_filter_narrows_the_list_and_escape_shows_all_again():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"qwen3-")
        assert app.screen.query_one(RecordTable).row_count == 2
        await press(pilot, "enter")
        assert app.focused is app.screen.query_one(RecordTable)
        await press(pilot, "escape")
        assert app.screen.query_one(RecordTable).row_count == len(ENTRIES)
        assert app.screen.query_one(Input).value == ""


async def test_a_filter_that_matches_nothing_says_what_to_do():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"zzz")
        empty = app.screen.query_one("#models-empty", Static)
        assert empty.display
        assert "Esc shows all" in str(empty.render())


async def test_a_hub_id_is_looked_up_and_offline_is_a_sentence():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"some/model")
        assert "look it up" in str(app.screen.query_one("#models-empty", Static).render())
        await press(pilot, "enter")
        assert "can't be reached" in str(app.screen.query_one("#models-about", Static).render())


async def test_a_hub_model_is_previewed_before_any_download_and_d_downloads_it():
    hub = msgspec.structs.replace(QWEN, id="some/model", source="hub", path=None)
    jobs = JobScripts(download=FakeJob((JobDone(NOW, "r0001", "done"),)))
    app = FqConsole(fake_services(describe_hub=lambda _id: hub, jobs=jobs))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"some/model", "enter")
        assert app.focused is app.screen.query_one(RecordTable)
        assert "d download" in footer(app)
        assert "d downloads 15.3 GiB, 180 GiB of disk are free ✓" in detail(app)
        await press(pilot, "d")
        assert jobs.started[0][0].model_id == "some/model"
        await press(pilot, "enter")
        assert app.current_mode == "fit"
        await press(pilot, "enter")
        assert app.current_mode == "fit"
        assert any("d to download" in text for text in notes(app))


async def test_a_download_is_followed_under_the_list_and_its_end_is_told_there():
    hub = msgspec.structs.replace(QWEN, id="some/model", source="hub", path=None)
    part = Progress(NOW, "download", 4.6 * GIB, 15.3 * GIB, 110e6, 104.0)
    job, listed = FakeJob((part, part, JobDone(NOW, "r0001", "done")), hold=1), []

    def list_models():
        listed.append(len(listed))
        return ENTRIES

    jobs = JobScripts(download=job)
    services = fake_services(describe_hub=lambda _id: hub, jobs=jobs, list_models=list_models)
    app = FqConsole(services)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "/", *"some/model", "enter", "d")
        assert "Downloading: 4.6 GiB of 15.3 GiB, 01:44 left." in detail(app)
        job.released.set()
        await app.jobs.settle()
        await settled(pilot)
        assert notes(app) == ["download some/model is done."]
        assert listed == [0, 1]


async def test_d_again_stops_a_download_and_a_third_time_goes_on():
    hub = msgspec.structs.replace(QWEN, id="some/model", source="hub", path=None)
    part = Progress(NOW, "download", 4.6 * GIB, 15.3 * GIB, 110e6, 104.0)
    jobs = JobScripts(download=FakeJob((part, part, JobDone(NOW, "r0001", "done")), hold=1))
    app = FqConsole(fake_services(describe_hub=lambda _id: hub, jobs=jobs))
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await press(pilot, "/", *"some/model", "enter", "d")
        assert "d stop download" in footer(app)
        await press(pilot, "d")
        await app.jobs.settle()
        await settled(pilot)
        assert notes(app) == [
            "download some/model was cancelled: what is here already stays for the next time."
        ]
        assert len(jobs.started) == 1
        assert "d download" in footer(app)
        await press(pilot, "d")
        assert len(jobs.started) == 2


async def test_a_download_that_fails_says_why_and_what_next():
    hub = msgspec.structs.replace(QWEN, id="some/model", source="hub", path=None)
    failure = JobFailed(NOW, "r0001", "failed", "The disk is full.", "Free some space.", 1)
    jobs = JobScripts(download=FakeJob((failure,)))
    app = FqConsole(fake_services(describe_hub=lambda _id: hub, jobs=jobs))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await press(pilot, "/", *"some/model", "enter", "d")
        await app.jobs.settle()
        await settled(pilot)
        assert notes(app) == ["download some/model failed: The disk is full. Free some space."]
        assert "d downloads 15.3 GiB" in detail(app)


async def test_an_unusable_model_says_why_and_is_not_chosen():
    chosen = []
    app = FqConsole(fake_services(entries=[BROKEN]))
    async with app.run_test(
        message_hook=lambda m: chosen.append(m) if isinstance(m, ModelChosen) else None
    ) as pilot:
        await settled(pilot)
        await press(pilot, "enter")
        assert notes(app) == [BROKEN.problem]
        assert app.current_mode == "models"
    assert chosen == []


async def test_enter_before_a_description_is_read_opens_the_model_when_it_is():
    gate = threading.Event()

    def describe(item):
        gate.wait(10)
        return DEMO

    app = FqConsole(fake_services(entries=[entry(DEMO)], describe=describe))
    async with app.run_test() as pilot:
        while app.screen.query_one(RecordTable).row_count == 0:
            await pilot.pause()
        await pilot.press("enter")
        assert app.current_mode == "models"
        gate.set()
        await settled(pilot)
        assert app.current_mode == "fit"


async def test_a_model_whose_description_fails_stays_in_the_list_with_its_problem():
    def describe(item):
        if item.id == QWEN.id:
            raise OperatorError("model-00002-of-00005.safetensors is missing.", "Download it again.")
        return DEMO

    app = FqConsole(fake_services(entries=[entry(DEMO), entry(QWEN)], describe=describe))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "j")
        text = str(app.screen.query_one("#models-about", Static).render())
        assert text == "model-00002-of-00005.safetensors is missing. Download it again."


async def test_enter_on_a_quantized_checkpoint_opens_a_session_on_it():
    made = msgspec.structs.replace(
        DEMO,
        id="/data/demo-int4",
        source="folder",
        quantization=QuantizationInfo("compressed-tensors", 4, (64,), True),
    )
    item = ModelEntry("/data/demo-int4", "folder", "/data/demo-int4")
    wanted = []
    app = FqConsole(fake_services(entries=[item], describe=lambda _item: made))
    hook = lambda m: wanted.append(m.session) if isinstance(m, SessionWanted) else None  # noqa: E731
    async with app.run_test(message_hook=hook) as pilot:
        await settled(pilot)
        assert "⏎ talk" in footer(app)
        await press(pilot, "enter")
        assert app.current_mode == "session"
    assert wanted[0].path == "/data/demo-int4"
    assert wanted[0].bits == 4


async def test_no_models_at_all_says_what_to_press():
    app = FqConsole(fake_services(entries=[]))
    async with app.run_test() as pilot:
        await settled(pilot)
        assert "Press r to look again" in str(app.screen.query_one("#models-empty", Static).render())
        await press(pilot, "enter", "d", "s")
        assert app.current_mode == "models"


async def test_names_with_brackets_are_shown_as_they_are():
    odd = msgspec.structs.replace(DEMO, id="me/[bold]odd[/bold]", path="/m/odd")
    item = ModelEntry(odd.id, "folder", "/m/odd")
    app = FqConsole(fake_services(entries=[item], describe=lambda _item: odd))
    async with app.run_test() as pilot:
        await settled(pilot)
        assert app.screen.query_one(RecordTable).text_of("folder:" + odd.id, "model") == "bold]"
        await press(pilot, "enter", "enter")
        assert app.current_mode == "quantize"


async def test_the_order_of_the_list_is_remembered_by_the_next_console(tmp_path):
    place = tmp_path / "console.json"
    for keys, order in ((("s", "s"), "size"), ((), "size"), (("s",), "fit")):
        app = FqConsole(fake_services(remembered=Remembered(place)))
        async with app.run_test() as pilot:
            await settled(pilot)
            await press(pilot, *keys)
            assert str(app.screen.query_one("#models-order", Static).render()) == f"sort: {order}"


async def test_models_that_cannot_be_listed_are_a_sentence():
    def lost():
        raise OperatorError("The models folder can't be read.", "Change its permissions.")

    app = FqConsole(fake_services(list_models=lost))
    async with app.run_test() as pilot:
        await settled(pilot)
        text = str(app.screen.query_one("#models-empty", Static).render())
        assert "can't be listed: The models folder can't be read" in text
        assert "Press r" in text


async def test_a_folder_is_looked_at_whatever_it_is_called():
    found = msgspec.structs.replace(DEMO, id="/models/mine", source="folder", path="/models/mine")
    item = ModelEntry("/models/mine", "folder", "/models/mine")
    app = FqConsole(fake_services(find_model=lambda _word: item, describe=lambda _item: found))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"~/mine")
        assert "Press Enter to look at the model in ~/mine" in str(
            app.screen.query_one("#models-empty", Static).render()
        )
        await press(pilot, "enter")
        assert app.screen.query_one(RecordTable).current == "folder:/models/mine"
        await press(pilot, "enter")
        assert app.workspace.description.path == "/models/mine"


async def test_a_folder_without_a_model_says_so():
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"/nowhere", "enter")
        assert "is no file" in detail(app)


BARE = msgspec.structs.replace(QWEN, id="opt-175b", source="config", path=None, revision=None, license=None)


@dataclass(frozen=True)
class Opened:
    place: str = "/c/opt-175b.json"
    outer: tuple = (("model_type", "opt"),)


async def test_a_config_is_described_by_a_worker_and_previewed_without_weights():
    shapes = ClassShapes({"model_type": "opt"}, ())
    told = []
    jobs = JobScripts(describe=FakeJob((ConfigDescribed(NOW, shapes), JobDone(NOW, "", "done"))))

    def describe_config(config, made):
        told.append((config.place, made))
        return BARE

    services = fake_services(
        jobs=jobs, open_config=lambda _word: (Opened(), None), describe_config=describe_config
    )
    app = FqConsole(services)
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"opt.json", "enter")
        await app.jobs.settle()
        await settled(pilot)
        assert told == [("/c/opt-175b.json", shapes)]
        assert jobs.started[0][0].config == {"model_type": "opt"}
        assert app.screen.query_one(RecordTable).current == "config:opt-175b"
        assert "Known from its config alone" in detail(app)
        await press(pilot, "enter")
        assert app.current_mode == "fit"
        await press(pilot, "enter")
        assert any("Only its config" in text for text in notes(app))


async def test_a_config_that_is_wrong_or_that_no_class_takes_names_the_reason():
    failed = JobFailed(NOW, "", "usage", "The field heads is missing.", "Add it.", 2)
    jobs = JobScripts(describe=FakeJob((failed,)))
    app = FqConsole(fake_services(jobs=jobs, open_config=lambda _word: (Opened(), None)))
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"opt.json", "enter")
        await app.jobs.settle()
        await settled(pilot)
        assert detail(app) == "The field heads is missing. Add it."
    app = FqConsole(fake_services())
    async with app.run_test() as pilot:
        await settled(pilot)
        await press(pilot, "/", *"x.json", "enter")
        assert "x.json is no file" in detail(app)


async def test_what_was_measured_of_a_model_stands_under_it_and_all_of_it_behind_v(tmp_path):
    def open_store():
        return Store.open(tmp_path / "runs.db")

    with open_store() as store:
        seed(store, tmp_path)
    app = FqConsole(fake_services(open_store=open_store))
    async with app.run_test(size=(100, 34)) as pilot:
        await settled(pilot)
        assert "measured here: nothing yet" in detail(app)
        await press(pilot, "j")
        assert "measured  16-bit 71 tok/s · r0003 · 1 run" in detail(app)
        assert "int4   4.31 bits/weight · ppl 9.81 · 148 tok/s" in detail(app)
        await press(pilot, "v")
        assert isinstance(app.screen, Explanation)
        text = "\n".join(str(widget.render()) for widget in app.screen.query(Static))
        assert "apache-2.0" in text and "9c925d64" in text and "ppl 9.81" in text


def test_what_was_typed_by_its_looks():
    kinds = {"Qwen/Qwen3-8B": "hub", "qwen": "words", "~/m": "folder", "/a/b": "folder", "x.json": "config"}
    assert {text: kind_of(text) for text in kinds} == kinds
    assert kind_of("a/b/c") == kind_of("two words/x y") == "words"
