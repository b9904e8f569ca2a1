"""The Session screen: what keys do, what workers are asked, what the runs keep, what failures look like."""

from dataclasses import replace

import msgspec
import pytest
from textual import events
from textual.geometry import Offset
from textual.selection import Selection
from textual.widgets import Input

from fqconsole.app.widgets.prompt_field import PromptField
from fqconsole.app.widgets.session_panel import SessionPanel
from fqconsole.jobs.messages import (
    GenerationDone,
    GenerationStarted,
    JobDone,
    Send,
    StartSession,
    Stop,
    TokensGenerated,
)
from tests.app.fakes import NOW, FakeGpu, FakeGpus
from tests.app.session_driver import STORY, stage_in
from tests.app.session_fakes import (
    PROMPT,
    SIXTEEN,
    RecordedSession,
    failure,
)


@pytest.fixture
def on_stage(tmp_path):
    return stage_in(tmp_path)


async def test_enter_sends_the_suggested_prompt_and_the_answer_is_a_run(on_stage):
    async with on_stage() as driver:
        assert driver.prompt == PROMPT
        await driver.keys("enter")
        assert f"you {PROMPT} int4 {STORY}" in driver.words()
        assert driver.prompt == ""
        assert "TTFT" in driver.meters() and "tok/s" in driver.meters() and "r0002" in driver.meters()
        (sent,) = driver.stage.first.sends
        assert sent.prompt == PROMPT and sent.messages is None and sent.sampling.seed is not None
    run = driver.run("r0002")
    assert (run.row.status, run.row.parent, run.generation.prompt) == ("done", "r0001", PROMPT)
    assert run.generation.output.startswith(f" {STORY}")


async def test_a_prompt_sent_while_the_model_loads_waits_for_it(on_stage):
    async with on_stage(first=RecordedSession(hold_opening=3)) as driver:
        assert "Loading demo int4" in driver.text()
        await driver.keys("enter")
        assert "Loading demo int4" in driver.text() and driver.stage.first.sends == []
        driver.stage.first.release()
        await driver.settle()
        assert STORY in driver.text()


async def test_esc_stops_keeps_the_text_and_gives_the_prompt_back(on_stage):
    async with on_stage(first=RecordedSession(hold_answer=3)) as driver:
        await driver.keys("enter")
        assert driver.footer["everywhere.back"] == "stop"
        assert "decode" in driver.meters() and "peak" not in driver.meters()
        await driver.keys("escape")
        assert any(isinstance(request, Stop) for request in driver.stage.first.asked)
        assert STORY in driver.text() and "stopped by you" in driver.meters()
        assert driver.prompt == PROMPT
        assert driver.app.current_mode == "session"
    assert driver.run("r0002").generation.stop_reason == "stopped"


async def test_while_an_answer_is_written_enter_sends_nothing(on_stage):
    async with on_stage(first=RecordedSession(hold_answer=3)) as driver:
        await driver.keys("enter")
        driver.screen.query_one(PromptField).write("another")
        await driver.keys("enter")
        assert len(driver.stage.first.sends) == 1
        assert driver.prompt == "another"


async def test_enter_right_behind_the_last_letter_sends_all_of_them(on_stage):
    async with on_stage(prompt="") as driver:
        for key in (*"abc", "enter"):
            driver.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await driver.settle()
        assert [send.prompt for send in driver.stage.first.sends] == ["abc"]


async def test_f5_answers_again_and_f6_edits_the_last(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter", "f5")
        first, second = driver.stage.first.sends
        assert first.prompt == second.prompt and first.sampling.seed != second.sampling.seed
        assert driver.words().count("you Once") == 1
        await driver.keys("f6")
        assert driver.prompt == PROMPT
        await driver.keys("!", "enter")
        assert driver.stage.first.sends[-1].prompt == PROMPT + "!"
        assert driver.words().count("you Once") == 1


async def test_f2_asks_the_original_the_same_with_the_same_seed_after_the_first(on_stage):
    async with on_stage(first=RecordedSession(hold_answer=3)) as driver:
        await driver.keys("enter", "f2")
        assert driver.stage.second.sends == []
        driver.stage.first.release()
        await driver.settle()
        (mine,), (its,) = driver.stage.first.sends, driver.stage.second.sends
        assert (mine.prompt, mine.sampling) == (its.prompt, its.sampling)
        assert STORY in driver.text("a") and STORY in driver.text("b")
        assert "tok/s" in driver.meters("a") and "tok/s" in driver.meters("b")
        assert "against" in driver.balance and "times as fast" in driver.balance
        await driver.keys("f2")
        assert "→" in driver.balance.split("won")[1]
        assert not driver.screen.query_one("#session-b").display
    assert driver.run("r0003").row.bits in (16, None)


async def test_a_model_that_can_not_be_loaded_is_a_sentence_and_enter_tries_again(on_stage):
    broken = RecordedSession(opening=[failure("The shard is truncated.", "Copy it again.")])
    async with on_stage(first=broken) as driver:
        assert "✗ The shard is truncated. Copy it again." in driver.words()
        driver.stage.workers.sessions[driver.stage.choice.path] = RecordedSession()
        await driver.keys("enter")
        assert STORY in driver.text()


async def test_a_worker_that_dies_is_a_sentence_and_the_next_prompt_loads_again(on_stage):
    async with on_stage(first=RecordedSession(hold_answer=3)) as driver:
        await driver.keys("enter")
        driver.stage.workers.sessions[driver.stage.choice.path] = RecordedSession()
        driver.stage.first.die()
        await driver.settle()
        assert STORY in driver.text() and "✗ The session has ended." in driver.words()
        driver.screen.query_one(PromptField).write("again")
        await driver.keys("enter")
        starts = [request for request in driver.stage.workers.started if isinstance(request, StartSession)]
        assert len(starts) == 2
        assert driver.words().count(STORY) == 2


async def test_a_worker_that_dies_between_prompts_is_told_below_the_answer(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter", "escape")
        driver.stage.first.die()
        await driver.settle()
        assert STORY in driver.text() and driver.words().endswith("✗ The session has ended. ⏎ tries again.")


async def test_an_answer_that_fails_is_a_sentence_and_the_model_stays(on_stage):
    error = failure("The prompt has 2000 tokens and the context is 1024.", "Shorten it.", run_id="x")
    async with on_stage(first=RecordedSession(answers=[[error]])) as driver:
        await driver.keys("enter")
        assert "✗ The prompt has 2000 tokens and the context is 1024. Shorten it." in driver.words()
        await driver.keys("f5")
        assert STORY in driver.text()
    assert driver.run("r0002").row.status == "failed"


async def test_control_codes_and_markup_are_shown_not_obeyed(on_stage):
    nasty = "\x1b[2J[bold red]hello[/] [link=x]\u202e"
    answer = [
        GenerationStarted(t=NOW, run_id="x", prompt_tokens=3, rendered=nasty, seed=1),
        TokensGenerated(t=NOW, run_id="x", text=nasty, count=3, tok_s=None),
        GenerationDone(
            t=NOW, run_id="x", text=nasty, token_ids=(1, 2, 3), prompt_tokens=3, ttft_ms=1.0,
            prefill_tok_s=1.0, decode_tok_s=None, peak_bytes=1, stop_reason="end",
        ),
        JobDone(t=NOW, run_id="x", status="done"),
    ]  # fmt: skip
    async with on_stage(
        first=RecordedSession(answers=[answer]), model_id="org/[red]m", prompt=nasty
    ) as driver:
        await driver.keys("enter")
        shown = "\\x1b[2J[bold red]hello[/] [link=x]\\u202e"
        assert driver.words().count(shown) == 2
        title = str(driver.screen.query_one(SessionPanel)._border_title)
        assert title == "Session · [red]m int4"
        await driver.keys("f3")
        assert shown in str(driver.screen.query("Static").last().render())


async def test_with_a_chat_template_the_conversation_is_sent(on_stage):
    async with on_stage(first=RecordedSession(has_chat_template=True)) as driver:
        await driver.keys("f4")
        driver.screen.query_one("#sampling-system", PromptField).write("Be brief.")
        await driver.keys("enter", "enter")
        driver.screen.query_one(PromptField).write("And then?")
        await driver.keys("enter")
        answer = driver.run("r0002").generation.output
        assert driver.stage.first.sends[-1].messages == (
            ("system", "Be brief."), ("user", PROMPT), ("assistant", answer), ("user", "And then?"),
        )  # fmt: skip
        await driver.keys("ctrl+n")
        assert "you" not in driver.text().split()


async def test_models_that_do_not_fit_together_are_loaded_in_turns(on_stage):
    full = RecordedSession(opening=[failure("The GPU is full.", "Use fewer bits.", exit_code=4)])
    async with on_stage(second=full) as driver:
        await driver.keys("enter")
        paths = driver.stage.workers.sessions
        original = str(driver.stage.original)
        kept = driver.stage.first
        roomy = RecordedSession(SIXTEEN)

        async def start(request, plain=driver.stage.workers.__call__):
            job = await plain(request)
            if getattr(request, "model_path", "") == original:
                paths[original] = roomy
            return job

        driver.app.jobs._services = msgspec_replace(driver.app.services, start_job=start)
        await driver.keys("f2")
        assert kept._ended
        assert STORY in driver.text("b")


def msgspec_replace(services, **changes):
    from dataclasses import replace

    return replace(services, **changes)


async def test_settings_are_typed_checked_and_shown(on_stage):
    async with on_stage() as driver:
        await driver.keys("f4")
        driver.screen.query_one("#sampling-top_p", Input).value = "2"
        await driver.keys("enter")
        problem = str(driver.screen.query_one("#sampling-problem").render())
        assert problem == "top_p is 2; it must be above 0 and at most 1 (1 = off)."
        await driver.keys("ctrl+g", "enter", "enter")
        assert driver.stage.first.sends[0].sampling.greedy
        assert driver.stage.first.sends[0].sampling.seed is None


async def test_a_reader_who_scrolled_up_is_left_there(on_stage):
    async with on_stage(size=(80, 24), first=RecordedSession(hold_answer=9)) as driver:
        await driver.keys("enter")
        transcript = driver.screen.query_one(SessionPanel).transcript
        transcript.focus()
        await driver.settle()
        assert transcript.near_end
        await driver.keys("g")
        driver.stage.first.release()
        await driver.settle()
        assert transcript.scroll_offset.y == 0
        await driver.keys("G")
        assert transcript.near_end


async def test_text_marked_with_the_mouse_is_drawn_and_copied(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter")
        transcript = driver.screen.query_one(SessionPanel).transcript
        spans = [((8, 0), (12, 0)), ((70, 0), (90, 1)), ((0, 0), (0, 3)), ((3, 1), (5, 2))]
        for first, last in spans:
            driver.screen.selections = {transcript: Selection(Offset(*first), Offset(*last))}
            await driver.settle()
        assert transcript.get_selection(Selection(Offset(8, 0), Offset(12, 0)))[0] == "Once"


async def test_without_a_model_enter_opens_the_latest_checkpoint(on_stage):
    async with on_stage(open_session=False) as driver:
        await driver.keys("4")
        assert "⏎ talks to demo int4 again" in str(driver.screen.query_one("#session-empty").render())
        await driver.keys("enter")
        assert any(isinstance(request, StartSession) for request in driver.stage.workers.started)
        assert "Ready" in driver.text()


async def test_unloading_gives_the_memory_back_and_enter_loads_again(on_stage):
    async with on_stage() as driver:
        driver.stage.workers.sessions[driver.stage.choice.path] = RecordedSession()
        await driver.app.run_action("unload", driver.screen)
        await driver.settle()
        assert driver.stage.first._ended and "Not loaded" in driver.text()
        await driver.keys("enter")
        assert STORY in driver.text()


async def test_every_send_names_its_run(on_stage):
    async with on_stage() as driver:
        await driver.keys("enter", "f5", "f5")
        sends = driver.stage.first.sends
        assert len({send.run_id for send in sends}) == 3
        assert all(isinstance(send, Send) for send in sends)


def test_the_recorded_lines_are_whole():
    from tests.app.session_fakes import recorded

    for name in ("session_int4", SIXTEEN, "evaluate"):
        events = recorded(name)
        assert isinstance(events[-1], JobDone)
        assert msgspec.json.encode(events[0])


@pytest.mark.parametrize(("chosen", "shared"), [(None, 1), (2, 2), (8, 2)])
async def test_a_session_shares_the_gpus_chosen_on_fit_as_far_as_there_are_some(on_stage, chosen, shared):
    async with on_stage(open_session=False, gpus=FakeGpus((FakeGpu(0), FakeGpu(1)))) as driver:
        driver.stage.open_session(replace(driver.stage.choice, gpus=chosen))
        await driver.settle()
        (start,) = [request for request in driver.stage.workers.started if isinstance(request, StartSession)]
        assert start.gpus == shared
        loaded = str(driver.screen.query_one(SessionPanel).border_subtitle)
        assert ("on 2 GPUs" in loaded) == (shared == 2)


async def test_another_number_of_gpus_loads_the_model_again(on_stage):
    async with on_stage(gpus=FakeGpus((FakeGpu(0), FakeGpu(1)))) as driver:
        driver.stage.workers.sessions[driver.stage.choice.path] = RecordedSession()
        driver.stage.open_session(replace(driver.stage.choice, gpus=2))
        await driver.settle()
        starts = [request for request in driver.stage.workers.started if isinstance(request, StartSession)]
        assert [request.gpus for request in starts] == [1, 2]
