"""Two models beside each other: what differs, numbers side by side, and votes without names."""

import pytest

from fqconsole.app.blind import BlindPair, chance, tally_phrases
from fqconsole.app.comparison_view import times_words, together
from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.app.widgets.session_panel import SessionPanel
from tests.app.session_driver import STORY, stage_in
from tests.app.session_fakes import SIXTEEN, RecordedMeasurement, RecordedSession, failure


@pytest.fixture
def on_stage(tmp_path):
    return stage_in(tmp_path)


@pytest.fixture
def original_is_x(monkeypatch):
    monkeypatch.setattr("secrets.choice", lambda sides: sides[1])


def everything(driver):
    """All words on the screen, borders too."""
    size = driver.app.size
    strips = driver.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strips[y]) for y in range(size.height))


async def test_what_differs_is_marked_and_the_numbers_stand_side_by_side(on_stage):
    async with on_stage(size=(120, 40), measurement=RecordedMeasurement()) as driver:
        await driver.keys("enter", "f2")
        marked = [line for line in driver.text("a").splitlines() if line.startswith("▌")]
        assert any("ten berries" in line for line in marked)
        assert not any("Every step made" in line for line in marked)
        assert "of the words are the same" in str(driver.screen.query_one(SessionPanel)._border_subtitle)
        assert "290 against 159 tok/s: 1.8 times as fast" in driver.balance
        assert "4.4 against 13.0 MiB: 3.0 times smaller   4.25 against 16 bits/weight" in driver.balance


async def test_any_other_model_can_stand_beside(on_stage):
    async with on_stage(size=(120, 40)) as driver:
        other = RecordedSession(SIXTEEN)
        driver.stage.workers.sessions["/models/Qwen/Qwen3-8B"] = other
        await driver.keys("enter", "ctrl+r", "down", "enter")
        assert "B Qwen3-8B 16-bit" in everything(driver).splitlines()[1]
        assert other.sends[0].sampling == driver.stage.first.sends[0].sampling
        assert "demo int4 against Qwen3-8B 16-bit" in everything(driver)
        await driver.keys("ctrl+r", "escape")
        assert "B Qwen3-8B 16-bit" in everything(driver).splitlines()[1]


async def test_blind_answers_come_together_without_any_name_and_the_vote_is_kept(on_stage, original_is_x):
    first = RecordedSession(hold_answer=4)
    async with on_stage(size=(120, 40), first=first) as driver:
        await driver.keys("f12", "enter")
        assert "Answers written: 1 of 2" in driver.words("a") and STORY not in driver.text("a")
        first.release()
        await driver.settle()
        shown = everything(driver)
        assert STORY in driver.text("a") and STORY in driver.text("b")
        names = ("int4", "16-bit", "demo", "r000", "MiB", "tok/s", "against")
        assert not [name for name in names if name in shown.split("Prompt")[0]]
        await driver.keys("f3", "w")
        assert driver.app.screen is driver.screen and not (driver.stage.folder / "exports").exists()
        await driver.keys("y")
        shown = everything(driver)
        assert "X  demo 16-bit · r0002" in shown and "Y  demo int4, your choice · r0003" in shown
        assert "demo int4 1 · demo 16-bit 0 · tie 0 · neither 0" in driver.balance
        assert driver.screen.query_one(PromptField).has_focus
    (vote,) = driver.run("r0003").votes
    assert (vote.other, vote.shown_as, vote.outcome) == ("r0002", "Y", "better")
    assert driver.run("r0002").options["shown_as"] == "X"
    assert driver.run("r0002").row.bits in (16, None) and driver.run("r0002").generation.output


async def test_the_next_prompt_waits_for_the_vote_and_f12_shows_names_without_one(on_stage):
    async with on_stage() as driver:
        await driver.keys("f12", "enter")
        driver.screen.query_one(PromptField).write("more")
        driver.screen.query_one(PromptField).focus()
        await driver.keys("enter", "f5", "f6")
        assert len(driver.stage.first.sends) == 1 and driver.prompt == "more"
        await driver.keys("f12")
        assert "demo int4" in everything(driver)
        await driver.keys("enter")
        assert len(driver.stage.first.sends) == 2
        assert "tok/s" in driver.meters("a")
    assert driver.run("r0002").votes == ()


@pytest.mark.parametrize("broken", [True, False])
async def test_without_two_whole_answers_there_is_no_vote(on_stage, broken):
    error = failure("The prompt is too long.", "Shorten it.", run_id="x")
    second = (
        RecordedSession(SIXTEEN, answers=[[error]]) if broken else RecordedSession(SIXTEEN, hold_answer=3)
    )
    async with on_stage(second=second) as driver:
        await driver.keys("f12", "enter", *([] if broken else ["escape"]), "x")
        assert "session.vote_x" not in driver.footer
        assert "demo" in everything(driver).splitlines()[1]
    assert driver.run("r0002").votes == ()


async def test_f12_on_two_open_answers_hides_only_the_next(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter", "f2", "f12")
        assert "tok/s" in driver.meters("a")
        assert "without names" in str(driver.screen.query_one(SessionPanel)._border_subtitle)
        await driver.keys("f5")
        assert "session.vote_tie" in driver.footer
        await driver.keys("t", "f12", "f2")
        assert not driver.screen.query_one("#session-b").display
        assert driver.words("a").count(STORY) == 1


def test_a_vote_names_its_side():
    pair = BlindPair("b")
    assert pair.hidden and pair.letter("a") == "Y"
    pair.choice = "first"
    assert (pair.verdict("b"), pair.verdict("a")) == ("your choice", "")
    pair.choice = "tie"
    assert pair.verdict("a") == pair.verdict("b") == "tie" and not pair.hidden


def test_how_often_a_coin_is_as_uneven():
    assert [chance(*votes) for votes in ((0, 0), (1, 0), (2, 2), (3, 1), (0, 8))] == [
        None, 1.0, 1.0, 0.625, 2 / 256,
    ]  # fmt: skip
    assert tally_phrases("a", "b", (3, 1, 2, 0)) == [
        "a 3 · b 1 · tie 2 · neither 0", "as uneven by chance: 62%",
    ]  # fmt: skip
    assert tally_phrases("a", "b", (0, 0, 2, 0)) == ["a 0 · b 0 · tie 2 · neither 0"]


def test_how_many_times():
    assert times_words(290, 159, "as fast", "slower") == "1.8 times as fast"
    assert times_words(100, 150, "as fast", "slower") == "1.5 times slower"
    assert times_words(100, 101, "as fast", "slower") == "no difference"
    assert together("4.2 MiB", "1.0 GiB") == "4.2 MiB against 1.0 GiB"
    assert together("4.3 ms", "8.0 ms") == "4.3 against 8.0 ms"
