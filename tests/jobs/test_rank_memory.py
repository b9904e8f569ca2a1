"""Memory that runs out on one of several GPUs, as a run has it: failed, with the numbers and what helps."""

import sys
from pathlib import Path

import psutil
import pytest
import torch

from fqconsole.demo import materialize
from fqconsole.generation.options import Sampling
from fqconsole.jobs import Job, Recorder, runs
from fqconsole.jobs.messages import GenerationDone, JobDone, JobFailed, SessionReady, StartSession
from store import Store

SHORT = str(Path(__file__).parent / "short_of_memory.py")
GREEDY = Sampling(temperature=0, max_new_tokens=4)
SHORTER = "Send a shorter prompt, or load the model with a shorter --context or fewer bits."
PATIENCE = 60  # seconds on a busy machine
SAID = {
    "cpu": "This machine ran out of memory: 1048576.00 GiB more was asked for.",
    "cuda:0": "GPU 1 ran out of memory: 1048576.00 GiB more was asked for, ",
}

pytestmark = pytest.mark.slow
two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs, with NCCL between them")
gpus = pytest.param("cuda:0", marks=[pytest.mark.gpu, two_gpus])


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened


@pytest.fixture
def short(tmp_path):
    """What the other rank is told by: the name of the order in which it asks for too much, once."""
    return tmp_path / "short"


async def talk(store, short, device, order, split="tensor"):
    """Two prompts, the other rank short of memory in `order` of the first: the events and the exit code."""
    source = str(materialize("demo"))
    recorder, events, others, left = Recorder(store), [], set(), 2
    start = StartSession(model_path=source, device=device, context=64, gpus=2, split=split)
    async with await Job.start(start, command=(sys.executable, "-P", SHORT, str(short))) as job:
        async for event in job.events():
            events.append(event)
            recorder.feed(event)
            if isinstance(event, SessionReady):
                others = {child.pid for child in psutil.Process(job.pid).children()}
                short.write_text(order)
            if isinstance(event, SessionReady | JobDone) or (isinstance(event, JobFailed) and event.run_id):
                if not left or not job.running:
                    break
                left -= 1
                send = runs.begin_generate(store, model_path=source, prompt="Once", sampling=GREEDY)
                await job.send(send)
    assert others
    assert gone(others)
    return events, await job.wait()


def gone(pids):
    return not psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], PATIENCE)[1]


def assert_failed(run, device, next_step):
    assert run.row.status == "failed"
    assert run.error["what"].startswith(SAID[device])
    assert (run.error["code"], run.error["next_step"]) == ("out_of_memory", next_step)


@pytest.mark.parametrize("device", ["cpu", gpus])
async def test_the_run_fails_with_the_numbers_and_the_next_is_answered(store, short, device):
    events, code = await talk(store, short, device, "step")
    assert code == 0, events[-1]
    assert_failed(store.run("r0001"), device, SHORTER)
    assert store.run("r0002").row.status == "done"
    assert [event.run_id for event in events if isinstance(event, GenerationDone)] == ["r0002"]


async def test_with_layers_on_a_cpu_the_session_ends_too(store, short):
    """gloo can't free a rank that waits for one other alone."""
    events, code = await talk(store, short, "cpu", "step", "layer")
    assert code == 4
    assert_failed(store.run("r0001"), "cpu", "Load the model again with a shorter --context or fewer bits.")
    assert not any(isinstance(event, GenerationDone) for event in events)


@pytest.mark.gpu
@two_gpus
@pytest.mark.parametrize(("order", "split"), [("start", "tensor"), ("step", "layer")])
async def test_ranks_of_gpus_go_on_after_a_prompt_and_with_layers_too(store, short, order, split):
    _, code = await talk(store, short, "cuda:0", order, split)
    assert code == 0
    assert_failed(store.run("r0001"), "cuda:0", SHORTER)
    assert store.run("r0002").row.status == "done"
