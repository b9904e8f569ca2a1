"""A session on two processes: the same answer as one gives, and no process that outlives the others."""

import os
import signal

import psutil
import pytest

from fqconsole.demo import materialize
from fqconsole.generation import open_session
from fqconsole.generation.options import Sampling
from fqconsole.jobs import Job
from fqconsole.jobs.messages import (
    GenerationDone,
    JobDone,
    JobFailed,
    Send,
    SessionReady,
    StartSession,
    TokensGenerated,
)

GREEDY = Sampling(temperature=0, max_new_tokens=12)
PROMPT = "Once upon a time"
PATIENCE = 60  # seconds on a busy machine; a rank notices at once


def gone(pids):
    return not psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], PATIENCE)[1]


@pytest.mark.slow
async def test_two_ranks_answer_as_one_and_a_killed_one_ends_the_other(tmp_path):
    source = materialize("demo")
    with open_session(source, device="cpu", context=128) as alone:
        expected = alone.generate(alone.render(PROMPT)[1], GREEDY).token_ids
    start = StartSession(model_path=str(source), device="cpu", context=128, gpus=2, split="layer")
    failed = others = None
    async with await Job.start(start, log_dir=tmp_path) as job:
        async for event in job.events():
            match event:
                case SessionReady(pid=pid):
                    others = [child.pid for child in psutil.Process(pid).children()]
                    await job.send(Send(run_id="r1", sampling=GREEDY, prompt=PROMPT))
                case GenerationDone(run_id="r1"):
                    assert event.token_ids == expected
                case JobDone(run_id="r1"):
                    endless = Sampling(temperature=0.9, seed=1, max_new_tokens=100)
                    await job.send(Send(run_id="r2", sampling=endless, prompt=PROMPT))
                case TokensGenerated(run_id="r2") if psutil.pid_exists(others[0]):
                    os.kill(others[0], signal.SIGKILL)
                case JobFailed():
                    failed = event
        assert await job.wait() == 4
    assert failed.code == "rank_lost"
    assert failed.what == "The process of rank 1 (cpu) is gone: killed by signal 9."
    assert len(others) == 1
    assert gone(others)


@pytest.mark.slow
async def test_the_other_ranks_end_with_a_killed_worker(tmp_path):
    start = StartSession(model_path=str(materialize("demo")), device="cpu", context=128, gpus=2)
    others = []
    async with await Job.start(start, log_dir=tmp_path) as job:
        async for event in job.events():
            if isinstance(event, SessionReady):
                others = [child.pid for child in psutil.Process(event.pid).children()]
                os.kill(event.pid, signal.SIGKILL)
    assert len(others) == 1
    assert gone(others)
