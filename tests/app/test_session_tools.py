"""Presets, earlier prompts, prompts from files, special tokens, dialogues saved: what surrounds a prompt."""

import pytest
from textual import events

from fqconsole import settings
from fqconsole.app.prompt_file import LARGEST, completed_path, read_prompt
from fqconsole.app.prompt_history import PromptHistory, stored_prompts
from fqconsole.app.sampling_presets import (
    BUILT_IN,
    load_presets,
    preset_name,
    presets_file,
    save_preset,
    with_preset,
)
from fqconsole.app.special_tokens import marked, special_tokens
from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.app.widgets.session_panel import SessionPanel
from fqconsole.app.widgets.transcript import Transcript
from fqconsole.errors import OperatorError
from fqconsole.generation.options import Sampling
from fqconsole.jobs import runs
from store import Store
from tests.app.session_driver import STORY, stage_in
from tests.app.session_fakes import PROMPT, RecordedSession, markdown_answer


@pytest.fixture
def on_stage(tmp_path):
    return stage_in(tmp_path)


def test_presets_have_names_and_own_ones_are_kept():
    assert preset_name(Sampling(seed=7, max_new_tokens=9), load_presets()) == "balanced"
    assert preset_name(Sampling(temperature=0, top_k=3), load_presets()) == "greedy"
    assert preset_name(Sampling(top_k=3), load_presets()) == ""
    save_preset("Müllers own", Sampling(temperature=0.5, seed=3, max_new_tokens=9))
    save_preset("other", Sampling(top_k=40))
    own = load_presets()
    assert list(own) == [*BUILT_IN, "Müllers own", "other"]
    assert own["Müllers own"] == Sampling(temperature=0.5)
    assert with_preset(Sampling(seed=3), own["other"]) == Sampling(top_k=40, seed=3)


@pytest.mark.parametrize("name", ["", "balanced", "[x]", "a" * 40, "line\nbreak"])
def test_names_that_are_none(name):
    with pytest.raises(OperatorError):
        save_preset(name, Sampling())
    assert not presets_file().exists()


@pytest.mark.parametrize("text", ["x", "[a]\ntemperature = -1", "[a]\nheat = 1", "a = 1", "\x00"])
def test_a_presets_file_that_can_not_be_read_is_a_sentence(text):
    presets_file().parent.mkdir(parents=True)
    presets_file().write_text(text)
    with pytest.raises(OperatorError, match=r"sampling\.toml"):
        load_presets()


async def test_a_preset_is_chosen_kept_and_stored_with_the_run(on_stage):
    async with on_stage() as driver:
        await driver.keys("f4", "f4")  # creative
        driver.screen.query_one("#sampling-top_k").value = "40"
        driver.screen.query_one("#sampling-name").value = "mine"
        await driver.keys("enter", "enter")
        assert "mine: temp 1 · top-k 40" in str(driver.screen.query_one("#session-write").border_subtitle)
        assert driver.stage.first.sends[0].sampling.top_k == 40
    assert driver.run("r0002").options["preset"] == "mine"
    assert "mine" in load_presets()


async def test_sampling_starts_from_the_settings(on_stage):
    opened = on_stage()
    opened.stage.app.settings = settings.Settings(
        session=settings.Session(temperature=0.25, max_new_tokens=9)
    )
    async with opened as driver:
        await driver.keys("enter")
        sampling = driver.stage.first.sends[0].sampling
        assert (sampling.temperature, sampling.max_new_tokens) == (0.25, 9)


def test_up_and_down_go_through_earlier_prompts_and_back_to_what_was_written():
    history = PromptHistory()
    assert history.older("draft") is None
    history.add("one")
    history.add("two")
    history.add("one")
    history.remember(["zero", "two"])
    assert [history.older("draft"), history.older("x"), history.older("x"), history.older("x")] == [
        "one", "two", "zero", None,
    ]  # fmt: skip
    assert [history.newer(), history.newer(), history.newer(), history.newer()] == [
        "two",
        "one",
        "draft",
        None,
    ]


def test_prompts_of_earlier_consoles_are_read_from_the_runs(tmp_path):
    with Store.open(tmp_path / "runs.db") as store:
        for said in (
            {"prompt": "plain"},
            {"messages": (("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "last\n\nlines"))},
            {"messages": (("user", "lone"),)},
            {"prompt": "plain"},
        ):
            runs.begin_generate(store, model_path=tmp_path, sampling=Sampling(), **said)
        assert stored_prompts(store) == ["last\n\nlines", "lone", "plain"]


async def test_up_brings_the_last_prompt_and_lines_of_a_long_one_are_walked_first(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter")
        field = driver.screen.query_one(PromptField)
        field.write("first\nsecond")
        await driver.keys("up")
        assert driver.prompt == "first\nsecond"
        await driver.keys("up")
        assert driver.prompt == PROMPT
        await driver.keys("down")
        assert driver.prompt == "first\nsecond"


async def test_a_paste_of_several_lines_is_one_prompt(on_stage):
    async with on_stage() as driver:
        field = driver.screen.query_one(PromptField)
        field.write("")
        field.post_message(events.Paste("one\ntwo\n\x1bthree"))
        await driver.keys("enter")
        assert driver.stage.first.sends[0].prompt == "one\ntwo\n\x1bthree"
        assert "\\x1bthree" in driver.text()


async def test_a_prompt_from_a_file(on_stage, tmp_path):
    (tmp_path / "prompt.txt").write_text("Tell me\nmore.\n")
    async with on_stage() as driver:
        await driver.keys("ctrl+l")
        driver.app.screen.query_one("#prompt-path").value = str(tmp_path / "nothing.txt")
        await driver.keys("enter")
        assert "can't be read" in str(driver.app.screen.query_one("#prompt-path-problem").render())
        driver.app.screen.query_one("#prompt-path").value = str(tmp_path / "prompt.txt")
        await driver.keys("enter")
        assert driver.prompt == "Tell me\nmore."


def test_files_that_are_no_prompts(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "picture.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge.txt").write_bytes(b"a" * (LARGEST + 1))
    for name, words in (
        ("", "folder"),
        ("empty.txt", "empty"),
        ("picture.bin", "UTF-8"),
        ("huge.txt", "bytes"),
    ):
        with pytest.raises(OperatorError, match=words):
            read_prompt(str(tmp_path / name))


def test_a_path_is_completed(tmp_path):
    (tmp_path / "alpha.txt").touch()
    (tmp_path / "beta").mkdir()
    (tmp_path / ".hidden").touch()
    assert completed_path(f"{tmp_path}/al") == f"{tmp_path}/alpha.txt"
    assert completed_path(f"{tmp_path}/b") == f"{tmp_path}/beta/"
    assert completed_path(f"{tmp_path}/") == f"{tmp_path}/alpha.txt"
    assert completed_path(f"{tmp_path}/.h") == f"{tmp_path}/.hidden"
    assert (
        completed_path("") is completed_path(f"{tmp_path}/none") is completed_path("/no/such/place/x") is None
    )


def test_special_tokens_are_read_from_the_files_and_marked(tmp_path):
    assert special_tokens(tmp_path) == frozenset()
    (tmp_path / "tokenizer.json").write_text(
        '{"added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"content": "word"}], "model": {}}'
    )
    assert special_tokens(tmp_path) == {"<s>"}
    (tmp_path / "tokenizer_config.json").write_text(
        '{"added_tokens_decoder": {"0": {"content": "<|im_start|>", "special": true}}, "chat_template": "x"}'
    )
    assert special_tokens(tmp_path) == {"<|im_start|>"}
    (tmp_path / "tokenizer_config.json").write_text("broken")
    assert special_tokens(tmp_path) == {"<s>"}
    assert marked("<s>[b]\x1b</s>", {"<s>", "</s>"}).plain == "⟦<s>⟧[b]\\x1b⟦</s>⟧"
    assert marked("a<s>", ()).plain == "a<s>"


async def test_f3_marks_the_special_tokens(on_stage):
    async with on_stage() as driver:
        (driver.stage.checkpoint / "tokenizer.json").write_text(
            '{"added_tokens": [{"content": "<|story|>", "special": true}]}'
        )
        await driver.keys("enter", "f3")
        assert str(driver.app.screen.query_one("#rendered-text").render()).startswith("⟦<|story|>⟧Once there")
        await driver.keys("escape")


async def test_a_dialogue_is_saved_as_markdown(on_stage):
    async with on_stage(first=RecordedSession(has_chat_template=True)) as driver:
        driver.screen._talk.system = "Be brief."
        await driver.keys("enter", "f2", "escape", "escape")
        driver.screen.query_one(SessionPanel).transcript.focus()
        await driver.keys("w")
    (file,) = (driver.stage.folder / "exports").iterdir()
    text = file.read_text()
    for part in ("# demo int4 and demo 16-bit", "> Be brief.", f"> {PROMPT}", "### demo int4",
                 "### demo 16-bit", STORY, "290 tok/s", "r0002", "seed"):  # fmt: skip
        assert part in text, part


async def test_markdown_is_drawn_and_r_shows_it_as_written(on_stage):
    async with on_stage(first=RecordedSession(answers=[markdown_answer()])) as driver:
        await driver.keys("enter", "escape", "escape")
        assert "• codes, 4 bits" in driver.text() and "**" not in driver.text()
        await driver.keys("r")
        assert "- codes, 4 bits" in driver.text() and "**memory-bound**" in driver.text()


async def test_earlier_answers_keep_their_speed(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter")
        driver.screen.query_one(PromptField).write("more")
        await driver.keys("enter")
        assert "TTFT 4.3 ms · 290 tok/s · 120 tokens · cut at max tokens · r0002" in driver.words()


async def test_the_system_prompt_has_a_key_and_is_shown_where_there_is_a_template(on_stage):
    async with on_stage(first=RecordedSession(has_chat_template=True)) as driver:
        await driver.keys("escape", "s", *"Be", "ctrl+j", *"brief", "enter")
        assert driver.screen._talk.system == "Be\nbrief"
        assert driver.words().startswith("system Be brief")
        await driver.keys("enter")
        assert driver.stage.first.sends[0].messages[0] == ("system", "Be\nbrief")


async def test_two_answers_scroll_together(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter", "f2")
        first, second = driver.screen.query(Transcript)
        first.focus()
        await driver.keys("g")
        assert first.scroll_offset.y == second.scroll_offset.y == 0
        await driver.keys("j", "j")
        assert first.scroll_offset.y == second.scroll_offset.y == 2
        await driver.keys("tab", "G")
        assert second.near_end and first.near_end
