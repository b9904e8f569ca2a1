"""The session task with a session that goes wrong on command: what ends a prompt, what the session."""

import os
import queue
from pathlib import Path

import pytest
import torch

from fqconsole.errors import UsageError
from fqconsole.generation import Generation
from fqconsole.generation.options import Sampling
from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import (
    GenerationDone,
    GenerationStarted,
    JobDone,
    JobFailed,
    MemoryMeasured,
    Send,
    SessionReady,
    StartSession,
    TokensGenerated,
    encode,
)
from fqconsole.jobs.orders import Orders
from fqconsole.jobs.tasks import session as task
from quantizer.watch import Cancelled
from tests.fit.synthetic import llama

MODEL = llama()


class FakeSession:
    """Answers with the prompt; raises what it is given for a prompt."""

    path = Path("/model")
    precision, device, context, has_chat_template = "int4", "cpu", 64, False
    torch_device = torch.device("cpu")
    load_seconds, weights_bytes, matmul_path, kv_bits = 0.5, 1000, "fake", 16
    ranks = None

    def __init__(self, failures):
        self.failures = failures
        self.closed = False
        self.samplings = []

    def render(self, prompt=None, messages=None):
        return f"<s>{prompt}", [1, *range(len(prompt.split()))]

    def generate(self, ids, sampling, *, stop, on_tokens):
        self.samplings.append(sampling)
        failure = self.failures.get(len(self.samplings))
        if failure is not None:
            raise failure
        for count in range(1, 201):
            on_tokens("x", count, None if count == 1 else 100.0)
        reason = "stopped" if stop() else "end"
        return Generation(
            text="x" * 200,
            token_ids=tuple(range(200)),
            prompt_tokens=len(ids),
            ttft_ms=1.0,
            prefill_tok_s=10.0,
            decode_tok_s=100.0,
            peak_bytes=5000,
            stop_reason=reason,
            seed=sampling.seed,
        )

    def close(self):
        self.closed = True


@pytest.fixture
def run(monkeypatch):
    """`run(prompts, failures)` is (events, session): all prompts are asked for before the model is loaded."""

    def go(prompts, failures=None, sampling=None, orders_change=None):
        session = FakeSession(failures or {})
        monkeypatch.setattr(task, "open_session", lambda *args, **kwargs: session)
        monkeypatch.setattr(task, "look_at", lambda folder: MODEL)
        read_end, write_end = os.pipe()
        request = StartSession(model_path="/model")
        os.write(write_end, encode(request))
        for number, prompt in enumerate(prompts, start=1):
            send = Send(run_id=f"r{number}", sampling=sampling or Sampling(temperature=0), prompt=prompt)
            os.write(write_end, encode(send))
        events, complaints = [], queue.SimpleQueue()
        orders = Orders(read_end, complaints.put)
        orders.listen()
        # The worker's main thread ends the session when all that was asked is answered.
        left = len(prompts)

        def put(event):
            nonlocal left
            events.append(event)
            left -= isinstance(event, JobDone | JobFailed)
            if not left:
                os.close(write_end)
                left = -1
            if orders_change is not None:
                orders_change(orders, event)

        try:
            task.run(request, Desk(put, orders, request))
        finally:
            if left != -1:
                os.close(write_end)
        return events, session

    return go


def kinds(events, run_id):
    return [type(event) for event in events if getattr(event, "run_id", None) == run_id]


def test_a_prompt_goes_through_its_events_in_order(run):
    events, session = run(["hello you"])
    assert isinstance(next(event for event in events if isinstance(event, SessionReady)), SessionReady)
    told = kinds(events, "r1")
    assert told[0] is GenerationStarted
    assert told[-5:] == [GenerationDone, *[MemoryMeasured] * 3, JobDone]
    assert session.closed


def test_memory_is_told_beside_what_the_preview_says_of_as_many_tokens(run):
    events, _ = run(["hello you"])
    told = {event.term: event for event in events if isinstance(event, MemoryMeasured)}
    assert {term: event.gpu for term, event in told.items()} == {
        "weights": None,
        "total": None,
        "runtime": None,
    }
    assert told["weights"].bytes == 1000
    assert told["weights"].predicted >= MODEL.bytes  # as stored, or twice that on a CPU without bf16
    assert told["total"].bytes == 5000
    assert told["total"].predicted > told["weights"].predicted + told["runtime"].predicted


def test_a_model_that_can_not_be_foreseen_still_answers(run, monkeypatch):
    def refuse(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("fqconsole.jobs.answer_memory.preview", refuse)
    events, _ = run(["hello you"])
    assert events[-1].status == "done"
    assert {event.predicted for event in events if isinstance(event, MemoryMeasured)} == {None}


def test_text_comes_in_few_events_and_none_of_it_is_lost(run):
    events, _ = run(["hello"])
    told = [event for event in events if isinstance(event, TokensGenerated)]
    assert "".join(event.text for event in told) == "x" * 200
    assert told[-1].count == 200
    assert len(told) < 50


def test_a_seed_is_drawn_and_told(run):
    events, session = run(["a", "b"], sampling=Sampling(temperature=0.7))
    seeds = [event.seed for event in events if isinstance(event, GenerationStarted)]
    assert all(isinstance(seed, int) for seed in seeds)
    assert [sampling.seed for sampling in session.samplings] == seeds


def test_out_of_memory_fails_the_prompt_and_the_session_goes_on(run):
    message = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.60 GiB of which "
        "0.50 GiB is free."
    )
    events, _ = run(["one", "two"], {1: torch.OutOfMemoryError(message)})
    failure = next(event for event in events if isinstance(event, JobFailed))
    assert (failure.run_id, failure.code, failure.exit_code) == ("r1", "out_of_memory", 4)
    assert "shorter" in failure.next_step
    assert kinds(events, "r2")[-1] is JobDone


@pytest.mark.parametrize("error", [UsageError("The prompt is too long.", "Shorten it."), KeyError("bug")])
def test_a_prompt_that_fails_leaves_the_next_one_alone(run, error):
    events, _ = run(["one", "two"], {1: error})
    assert kinds(events, "r1")[-1] is JobFailed
    assert kinds(events, "r2")[-1] is JobDone


def test_a_lost_device_ends_the_session(run):
    with pytest.raises(RuntimeError, match="CUDA error"):
        run(["one"], {1: RuntimeError("CUDA error: an illegal memory access was encountered")})


def test_stop_reaches_the_answer_under_way_only(run):
    def stop_first(orders, event):
        if isinstance(event, TokensGenerated) and event.run_id == "r1":
            orders._stopped_through = 1

    events, _ = run(["one", "two"], orders_change=stop_first)
    reasons = {event.run_id: event.stop_reason for event in events if isinstance(event, GenerationDone)}
    assert reasons == {"r1": "stopped", "r2": "end"}
    assert [event.status for event in events if isinstance(event, JobDone)] == ["done", "done"]


def test_cancel_keeps_the_answer_and_tells_the_ones_that_wait(run):
    def cancel_first(orders, event):
        if isinstance(event, TokensGenerated):
            orders.cancel()

    events, session = run(["one", "two", "three"], orders_change=cancel_first)
    ends = [(event.run_id, event.status) for event in events if isinstance(event, JobDone)]
    assert ends == [("r1", "cancelled"), ("r2", "cancelled"), ("r3", "cancelled")]
    assert [event.run_id for event in events if isinstance(event, GenerationDone)] == ["r1"]
    assert session.closed


def test_cancel_while_loading_ends_it_there(monkeypatch):
    read_end, write_end = os.pipe()
    os.close(write_end)
    orders = Orders(read_end, print)

    def load(path, *, on_progress, **options):
        on_progress(1.0, 10.0)
        orders.cancel()
        on_progress(2.0, 10.0)

    monkeypatch.setattr(task, "open_session", load)
    monkeypatch.setattr(task, "look_at", lambda folder: None)
    request = StartSession(model_path="/model")
    with pytest.raises(Cancelled):
        task.run(request, Desk(lambda event: None, orders, request))
