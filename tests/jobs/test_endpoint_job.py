"""The endpoint job in a real worker: a session's events from a server, one that it started too."""

import socket
import sys
from pathlib import Path

import pytest

from fqconsole import paths
from fqconsole.generation.options import Sampling
from fqconsole.jobs.client import Job
from fqconsole.jobs.messages import (
    GenerationDone,
    GenerationStarted,
    JobDone,
    JobFailed,
    Send,
    SessionReady,
    StartEndpoint,
    Stop,
    TokensGenerated,
    WorkerStarted,
)
from fqconsole.jobs.recorder import Recorder
from fqconsole.jobs.runs import begin_generate
from store import Store
from tests.endpoints.conftest import stand_in  # noqa: F401 - a fixture
from tests.jobs.conftest import collect, ends_within, first

SERVER = Path(__file__).parents[1] / "endpoints" / "stand_in_server.py"
SECRET = "sk-tell-nobody"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def engine(port, *options):
    """A request that starts the stand-in as an engine."""
    command = (sys.executable, str(SERVER), str(port), *options)
    return StartEndpoint(url=f"http://127.0.0.1:{port}/v1", command=command)


@pytest.fixture
async def begin():
    """`await begin(request)` is a running job; what still runs is ended afterwards."""
    jobs = []

    async def start(request):
        jobs.append(await Job.start(request))
        return jobs[-1]

    yield start
    for job in jobs:
        await job.cancel()


async def test_a_served_model_is_a_session_and_its_answer_a_run(begin, stand_in, home, monkeypatch):  # noqa: F811
    monkeypatch.setenv("FQCONSOLE_ENDPOINT_KEY", SECRET)
    server = stand_in(key=SECRET)
    job = await begin(StartEndpoint(url=server.url))
    with Store.open(paths.store_file()) as store:
        recorder = Recorder(store)
        send = begin_generate(
            store, model_path=server.url, sampling=Sampling(seed=5), messages=[("user", "one two")]
        )
        told = []
        async for event in job.events():
            told.append(event)
            recorder.feed(event)
            if isinstance(event, SessionReady):
                await job.send(send)
            if isinstance(event, JobDone):
                break
        run = store.run(send.run_id)
    kinds = [type(event) for event in told]
    assert kinds[0] is WorkerStarted
    assert told[0].device == "remote"
    ready = told[kinds.index(SessionReady)]
    assert (ready.precision, ready.context, ready.has_chat_template) == ("remote", 2048, True)
    assert (ready.weights_bytes, ready.path) == (None, "endpoint")
    assert {GenerationStarted, TokensGenerated} <= set(kinds)
    done = told[kinds.index(GenerationDone)]
    assert (done.text, done.tokens, done.prompt_tokens, done.peak_bytes) == ("ONE TWO ", 2, 2, None)
    assert (run.row.model, run.row.status, run.row.path) == ("words", "done", f"{server.url}#words")
    assert run.generation.output == "ONE TWO "
    assert run.generation.tokens_out == 2
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


async def test_a_lone_question_goes_plain_where_no_conversation_is_rendered(begin, stand_in):  # noqa: F811
    server = stand_in(chat=False)
    job = await begin(StartEndpoint(url=server.url, model="words"))
    assert not (await first(job, SessionReady)).has_chat_template
    await job.send(Send("r1", Sampling(), messages=(("user", "hi you"),)))
    assert (await first(job, GenerationDone)).text == "HI YOU "
    await job.send(Send("r2", Sampling(), messages=(("system", "brief"), ("user", "hi"))))
    assert "no chat template" in (await first(job, JobFailed)).what


async def test_a_failed_prompt_leaves_the_session_and_stop_keeps_the_text(begin, stand_in):  # noqa: F811
    job = await begin(StartEndpoint(url=stand_in().url))
    await first(job, SessionReady)
    await job.send(Send("r1", Sampling(), prompt="refuse"))
    failed = await first(job, JobFailed)
    assert (failed.run_id, failed.code) == ("r1", "endpoint")
    await job.send(Send("r2", Sampling(), prompt="endless"))
    await first(job, TokensGenerated)
    await job.send(Stop())
    done = await first(job, GenerationDone)
    assert (done.run_id, done.stop_reason) == ("r2", "stopped")
    assert done.text.startswith("ENDLESS ")


@pytest.mark.parametrize(
    ("models", "model", "said"),
    [
        ([{"id": "a"}, {"id": "b"}], None, "more than one model; it has a, b"),
        ([{"id": "a"}], "c", "no model c; it has a"),
        ([], None, "no model"),
    ],
)
async def test_which_model_is_told_where_it_is_not_clear(begin, stand_in, models, model, said):  # noqa: F811
    job = await begin(StartEndpoint(url=stand_in(models=models).url, model=model))
    failed = (await collect(job))[-1]
    assert isinstance(failed, JobFailed)
    assert said in failed.what
    assert await job.wait() == 1


async def test_an_engine_is_started_waited_for_and_ended_with_the_session(begin):
    port = free_port()
    job = await begin(engine(port, "ready_after=2"))
    await first(job, SessionReady)
    await job.send(Send("r1", Sampling(), prompt="hi"))
    assert (await first(job, GenerationDone)).text == "HI "
    pid = pid_of(port)
    await job.cancel()
    assert ends_within(pid, 10)


async def test_an_engine_that_ends_at_once_is_told_with_its_last_words(begin):
    job = await begin(engine(free_port(), "die=3"))
    failed = (await collect(job))[-1]
    assert "exit code 3" in failed.what
    assert "no GPU here" in failed.what


async def test_an_interpreter_that_is_not_there_is_told(begin):
    request = StartEndpoint(url="http://127.0.0.1:1/v1", command=("/nowhere/bin/vllm", "serve"))
    failed = (await collect(await begin(request)))[-1]
    assert "/nowhere/bin/vllm can't be started" in failed.what


async def test_an_engine_ends_with_a_worker_that_is_killed(begin):
    import os
    import signal

    port = free_port()
    job = await begin(engine(port))
    await first(job, SessionReady)
    pid = pid_of(port)
    os.kill(job.pid, signal.SIGKILL)
    assert ends_within(pid, 10)


def pid_of(port):
    """Which process listens on a port of loopback."""
    import psutil

    return next(
        one.pid
        for one in psutil.net_connections("tcp4")
        if one.status == "LISTEN" and one.laddr and one.laddr.port == port
    )
