"""Pictures of the Session screen in its states.

Make them again with `pytest tests/app --snapshot-update`, and look at them before committing.
"""

import pytest

from tests.app.conftest import settled
from tests.app.session_fakes import (
    SIXTEEN,
    RecordedMeasurement,
    RecordedSession,
    SessionStage,
    failure,
    markdown_answer,
)

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)
SIZES = pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["80x24", "120x40", "200x60"])


@pytest.fixture
def picture(snapshot, tmp_path):
    """Take a picture of a Session after some keys."""

    def take(*keys, size=SMALL, opened=True, **options):
        stage = SessionStage(tmp_path, **options)

        async def run(pilot):
            await settled(pilot)
            if opened:
                stage.open_session()
            await settled(pilot)
            for key in keys:
                await pilot.press(key)
                await settled(pilot)

        return snapshot(stage.app, terminal_size=size, run_before=run)

    return take


def measured():
    return RecordedMeasurement()


def test_empty(picture):
    assert picture("4", opened=False)


def test_loading(picture):
    assert picture(first=RecordedSession(hold_opening=3))


def test_ready(picture):
    assert picture()


@SIZES
def test_streaming(picture, size):
    assert picture("enter", size=size, first=RecordedSession(hold_answer=6))


@SIZES
def test_done_and_measured(picture, size):
    assert picture("enter", size=size, measurement=measured())


def test_measuring(picture):
    assert picture("enter", measurement=RecordedMeasurement(hold=6))


def test_the_second_model_loads(picture):
    assert picture("enter", "f2", second=RecordedSession(hold_opening=2), measurement=measured())


@SIZES
def test_two_answers(picture, size):
    assert picture("enter", "f2", size=size, measurement=measured())


BLIND = pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])


@pytest.fixture
def int4_is_x(monkeypatch):
    """What is drawn by lot comes out the same every time."""
    monkeypatch.setattr("secrets.choice", lambda sides: sides[0])


@BLIND
def test_blind_answers_wait_for_a_vote(picture, int4_is_x, size):
    assert picture("f12", "enter", size=size, measurement=measured())


@BLIND
def test_after_the_vote_the_names_are_known(picture, int4_is_x, size):
    assert picture("f12", "enter", "y", size=size, measurement=measured())


def test_blind_answers_are_written(picture, int4_is_x):
    assert picture("f12", "enter", second=RecordedSession(SIXTEEN, hold_answer=5))


@BLIND
def test_markdown(picture, size):
    assert picture(
        "enter", size=size, model_id="org/chat", first=RecordedSession(answers=[markdown_answer()])
    )


@BLIND
def test_a_dialogue_with_a_system_prompt(picture, size):
    keys = ("f4", *["tab"] * 8, *"Be", "enter", "enter", *"And", "enter")
    assert picture(*keys, size=size, model_id="org/chat", first=RecordedSession(has_chat_template=True))


def test_a_prompt_from_a_file(picture):
    assert picture("ctrl+l", *"/nowhere/[x].txt", "enter")


def test_a_model_that_can_not_be_loaded(picture):
    what = "The shard model-00002-of-00004.safetensors of /models/[big] is truncated: 1.2 of 4.9 GB."
    assert picture(first=RecordedSession(opening=[failure(what, "Download it again.")]))


def test_stopped_with_wide_text(picture):
    assert picture("enter", "escape", first=RecordedSession(hold_answer=6), prompt="千问 \x1b[31m[b]é🙂")


def test_sampling(picture):
    assert picture("f4")


@BLIND
def test_sampling_with_a_system_prompt(picture, size):
    keys = ("f4", "f4", *["tab"] * 7, *"short", "tab", *"Be")
    assert picture(*keys, size=size, model_id="org/chat", first=RecordedSession(has_chat_template=True))


def test_the_prompt_as_the_model_sees_it(picture):
    assert picture("enter", "f3", measurement=measured())
