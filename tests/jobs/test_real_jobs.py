"""The real tasks in real workers, on the built-in model: quantize, evaluate, talk, and what they leave."""

import asyncio
from pathlib import Path

import pytest

from fqconsole.demo import materialize
from fqconsole.generation.options import Sampling
from fqconsole.jobs import Job, Recorder, runs, suggest_checkpoint_path
from fqconsole.jobs.messages import (
    Cancel,
    EvaluationDone,
    GenerationDone,
    JobDone,
    JobFailed,
    MatrixDone,
    PhaseStarted,
    PlanReady,
    Send,
    SessionReady,
    StartDownload,
    StartEvaluate,
    StartQuantize,
    StartSession,
    WorkerStarted,
)
from store import Store
from tests.jobs.conftest import collect, first

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened


async def record(store, request):
    """Run a job to its end as a console does: every event recorded."""
    recorder = Recorder(store)
    async with await Job.start(request) as job:
        events = [event async for event in job.events()]
    for event in events:
        recorder.feed(event)
    return events, await job.wait()


async def test_quantize_evaluate_and_talk(store):
    source = materialize("demo")
    out = suggest_checkpoint_path("demo", 4, "adaptive", "default")
    events, code = await record(
        store,
        runs.begin_quantize(store, model_id="demo", model_path=source, out=out, bits=4, device="cpu"),
    )
    assert code == 0, events[-1]
    assert isinstance(events[0], WorkerStarted)
    assert {"python", "torch", "transformers"} <= set(events[0].versions)
    assert events[0].device == "cpu"
    plan = next(event for event in events if isinstance(event, PlanReady)).plan
    made = store.run("r0001")
    assert made.row.status == "done"
    assert {row.name for row in made.matrices} == {matrix.name for matrix in plan.matrices}
    assert len([event for event in events if isinstance(event, MatrixDone)]) == len(plan.matrices)
    assert Path(made.row.path) == out
    assert 4 < made.row.bits_per_weight < 4.6
    assert made.row.peak_bytes > 10**6

    events, code = await record(
        store,
        runs.begin_evaluate(
            store, checkpoint_path=out, reference_path=source, window=128, max_tokens=512, device="cpu"
        ),
    )
    assert code == 0, events[-1]
    measured = next(event for event in events if isinstance(event, EvaluationDone))
    assert measured.perplexity > measured.reference_perplexity > 1
    assert store.run("r0001").row.perplexity == pytest.approx(measured.perplexity)

    await talk(store, out)
    assert store.run("r0001").children == ("r0002", "r0003", "r0004")


async def talk(store, out):
    """One session, two prompts, the second the same as the first."""
    recorder = Recorder(store)
    answers = []
    async with await Job.start(StartSession(model_path=str(out), device="cpu", context=128)) as job:
        async for event in job.events():
            recorder.feed(event)
            if isinstance(event, SessionReady | JobDone):
                if len(answers) == 2:
                    break
                send = runs.begin_generate(
                    store,
                    model_path=out,
                    prompt="Once upon a time",
                    sampling=Sampling(temperature=0, max_new_tokens=8),
                )
                await job.send(send)
            if isinstance(event, GenerationDone):
                answers.append(event)
            assert not isinstance(event, JobFailed), event
    assert await job.wait() == 0
    assert answers[0].token_ids == answers[1].token_ids
    assert store.run("r0003").generation.output == answers[0].text
    assert store.run("r0003").metric("weights_bytes") > 0
    comparison = store.compare(["r0003"], everything=True)
    assert next(row for row in comparison.rows if row.name == "ttft_ms").cells[0].n == 2


@pytest.mark.parametrize(
    ("request_", "exit_code", "said"),
    [
        (
            StartQuantize(
                run_id="r1", model_id="x", model_path="/nowhere", out="/nowhere/either", bits=4, device="cpu"
            ),
            2,
            "/nowhere",
        ),
        (
            StartEvaluate(run_id="r1", checkpoint_path="/nowhere", reference_path="/nowhere", device="cpu"),
            2,
            "nowhere",
        ),
        (StartSession(model_path="/nowhere", device="cpu"), 2, "nowhere"),
        (StartSession(model_path="/nowhere", device="cuda:7"), 2, "cuda:7"),
        (StartDownload(run_id="r1", model_id="nobody/nothing"), 1, ""),
    ],
    ids=["quantize", "evaluate", "session", "device", "download"],
)
async def test_bad_requests_fail_with_a_sentence_and_the_right_code(request_, exit_code, said):
    async with await Job.start(request_) as job:
        failure = (await collect(job))[-1]
    assert isinstance(failure, JobFailed)
    assert failure.code != "internal", failure.details
    assert said in failure.what
    assert failure.next_step
    assert failure.exit_code == await job.wait()
    assert failure.exit_code == exit_code


async def test_a_session_goes_on_after_a_prompt_that_is_too_long_and_ends_when_cancelled():
    source = materialize("demo")
    async with await Job.start(StartSession(model_path=str(source), device="cpu", context=64)) as job:
        await first(job, SessionReady)
        await job.send(Send(run_id="r1", sampling=Sampling(temperature=0), prompt="word " * 500))
        failure = await first(job, JobFailed)
        assert (failure.run_id, failure.code != "internal") == ("r1", True)
        await job.send(Send(run_id="r2", sampling=Sampling(temperature=0, max_new_tokens=4), prompt="Once"))
        assert (await first(job, GenerationDone)).run_id == "r2"
        await job.send(Cancel())
        assert await asyncio.wait_for(job.wait(), 10) == 0


async def test_cancelling_while_a_model_loads_is_quick():
    source = materialize("demo")
    async with await Job.start(StartSession(model_path=str(source), device="cpu")) as job:
        await first(job, PhaseStarted)
        began = asyncio.get_running_loop().time()
        await job.cancel()
        assert asyncio.get_running_loop().time() - began < 3
