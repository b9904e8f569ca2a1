"""A model that a server has, in the Session: beside the loaded one, or alone."""

from dataclasses import replace

import msgspec
import pytest
from textual.widgets import Static

from fqconsole.app import session_view
from fqconsole.app.run_again import next_step
from fqconsole.app.serving_view import serving_lines
from fqconsole.app.session_choices import served
from fqconsole.app.session_requests import opening_request
from fqconsole.app.workspace import FitChoice
from fqconsole.endpoints.address import parse_address
from fqconsole.jobs.messages import GenerationDone, GenerationStarted, JobDone, StartEndpoint, TokensGenerated
from tests.app.fakes import NOW, fake_services
from tests.app.session_driver import STORY, stage_in
from tests.app.session_fakes import RecordedSession
from tests.serving.conftest import checkpoint  # noqa: F401 - a fixture

URL = "http://127.0.0.1:8000/v1"
TEXT = f"{STORY}, far away."


def remote():
    """A session as an endpoint job tells it: no ids, no memory, no prompt tokens before the end."""
    answer = [
        GenerationStarted(t=NOW, run_id="x", prompt_tokens=None, rendered="Once", seed=1),
        TokensGenerated(t=NOW + 0.1, run_id="x", text=TEXT, count=5, tok_s=50.0),
        GenerationDone(
            t=NOW + 1, run_id="x", text=TEXT, token_ids=(), prompt_tokens=9, ttft_ms=38.0, prefill_tok_s=None,
            decode_tok_s=50.0, peak_bytes=None, stop_reason="end", new_tokens=5,
        ),
        JobDone(t=NOW + 1, run_id="x", status="done"),
    ]  # fmt: skip
    changes = {"precision": "remote", "device": "127.0.0.1:8000", "weights_bytes": None, "context": None}
    return RecordedSession(answers=[answer], model_path=f"{URL}#words", path="endpoint", **changes)


@pytest.fixture
def on_stage(tmp_path):
    return stage_in(tmp_path)


async def give(driver, address):
    driver.screen.action_endpoint()
    await driver.settle()
    driver.app.screen.query_one("#server-address").value = address
    await driver.keys("enter")


async def test_a_served_model_stands_beside_ours_and_answers_the_same_prompt(on_stage):
    async with on_stage() as driver:
        session = driver.stage.workers.sessions[URL] = remote()
        await driver.keys("enter")
        await give(driver, f"{URL}#words")
        (mine,), (its,) = driver.stage.first.sends, session.sends
        assert (mine.prompt, mine.sampling) == (its.prompt, its.sampling)
        assert TEXT in driver.words("b")
        assert "5 tokens" in driver.meters("b")
    run = driver.run(its.run_id)
    assert (run.row.model, run.row.path, run.row.bits) == ("words", f"{URL}#words", None)
    assert run.generation.tokens_out == 5


async def test_alone_where_nothing_is_loaded(on_stage):
    async with on_stage(open_session=False) as driver:
        session = driver.stage.workers.sessions[URL] = remote()
        driver.stage.open_session(served(parse_address(URL)))
        await driver.settle()
        for letter in "Hi":
            await driver.keys(letter)
        await driver.keys("enter")
        assert [send.prompt for send in session.sends] == ["Hi"]
        assert TEXT in driver.words()


async def test_a_word_that_is_no_address_is_told_in_the_dialog(on_stage):
    async with on_stage() as driver:
        await give(driver, "http://user:secret@host/v1")
        told = str(driver.app.screen.query_one("#server-address-problem").render())
        assert "password" in told
        assert "secret" not in told


async def test_how_engines_serve_the_loaded_checkpoint_is_shown(on_stage, checkpoint):  # noqa: F811
    about = checkpoint("demo", 4)
    async with on_stage() as driver:
        driver.app.services = replace(driver.app.services, describe=lambda _entry: about)
        await driver.keys("enter")
        driver.screen.action_serve_elsewhere()
        await driver.settle()
        shown = "\n".join(str(text.render()) for text in driver.app.screen.query(Static))
    assert f"vllm serve {about.path}" in shown
    assert "-m sglang.launch_server" in shown
    assert "Machete on hopper" in shown


def test_engines_that_can_not_serve_it_say_why(checkpoint):  # noqa: F811
    lines = serving_lines(checkpoint("demo", 3), 2, None)
    assert [line.startswith("can't serve it: ") for line in lines].count(True) == 2
    assert not any("vllm serve" in line for line in lines)


def test_a_choice_with_an_address_is_opened_there():
    choice = served(parse_address(URL, "org/words"))
    assert choice.label == "words at 127.0.0.1:8000"
    assert opening_request(choice) == StartEndpoint(url=URL, model="org/words")


async def test_a_run_of_a_served_model_goes_on_there(on_stage):
    async with on_stage() as driver:
        session = driver.stage.workers.sessions[URL] = remote()
        await driver.keys("enter")
        await give(driver, f"{URL}#words")
        run = driver.run(session.sends[0].run_id)
    step = next_step(fake_services(), run, FitChoice())
    assert (step.session.path, step.session.label) == (f"{URL}#words", "words at 127.0.0.1:8000")


def test_answers_without_token_ids_are_compared_by_their_text():
    done = remote()._answers[0][2]
    one = type("Shown", (), {"result": done})()
    other = type("Shown", (), {"result": msgspec.structs.replace(done, text="Else")})()
    assert session_view.parting(one, one) == "both answers are the same"
    assert session_view.parting(one, other) == ""
