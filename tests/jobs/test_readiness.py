"""What a worker loads ahead: all that a session imports, no GPU, and nothing that fails ends it."""

import json
import subprocess
import sys
import textwrap

import pytest

from fqconsole.demo import materialize
from fqconsole.generation.options import Sampling
from fqconsole.jobs import Job, readiness
from fqconsole.jobs.messages import GenerationDone, Send, SessionReady, StartSession
from fqconsole.jobs.readiness import READY, make_ready
from fqconsole.jobs.spare import SpareWorker
from tests.jobs.conftest import first

LOAD = """
import json, sys, threading
from fqconsole.jobs.readiness import READY, make_ready
make_ready("session", lambda: False)
import torch
missing = [name for name in READY["session"] if name not in sys.modules]
before = set(sys.modules)
told = [missing, torch.cuda.is_initialized(), threading.active_count()]
"""
OPEN = """
from pathlib import Path
from fqconsole.demo import materialize
from fqconsole.generation import open_session
with open_session(Path(materialize("demo")), device="cpu", context=64) as session:
    session.render("Once")
print(json.dumps([*told, sorted(set(sys.modules) - before)]))
"""


def test_what_fails_is_left_to_the_job_and_a_request_ends_the_loading(monkeypatch):
    loaded = []

    def load(name):
        loaded.append(name)
        if name == "one":
            raise OSError("libtorch_cuda.so: cannot open shared object file")

    monkeypatch.setattr(readiness, "READY", {"session": ("one", "two", "three")})
    monkeypatch.setattr(readiness, "import_module", load)
    make_ready("session", lambda: len(loaded) == 2)
    assert loaded == ["one", "two"]


@pytest.mark.slow
def test_a_session_finds_all_that_it_imports_and_no_gpu_was_touched():
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOAD + OPEN)], capture_output=True, text=True, check=True
    )
    missing, cuda, threads, later = json.loads(found.stdout.splitlines()[-1])
    assert [name for name in missing if not name.startswith("kernels.")] == []
    assert not cuda
    assert threads == 1
    assert [name for name in later if not name.startswith("fqconsole.demo")] == []


def test_every_module_of_the_list_exists():
    import importlib.util

    ours = [name for name in READY["session"] if name.startswith(("kernels", "quantizer", "fqconsole"))]
    assert len(ours) > 5
    assert all(importlib.util.find_spec(name) for name in ours)


@pytest.mark.slow
async def test_a_ready_worker_says_what_another_says():
    folder = str(materialize("demo"))
    send = Send(run_id="r1", sampling=Sampling(temperature=0, max_new_tokens=8), prompt="Once upon a time")
    spare = await SpareWorker.start()
    assert await spare.wait_ready()
    told = []
    for one in (spare, None):
        request = StartSession(model_path=folder, device="cpu", context=128)
        async with await Job.start(request, spare=one) as job:
            assert (one is not None) == (job.pid == spare.pid)
            ready = await first(job, SessionReady)
            await job.send(send)
            answer = await first(job, GenerationDone)
        told.append((ready, answer))
    (ready, answer), (other, expected) = told
    assert answer.token_ids == expected.token_ids
    assert (ready.precision, ready.path, ready.context) == (other.precision, other.path, other.context)
    # What passed before the request is no part of the start.
    assert set(other.stages) - set(ready.stages) == {"python", "request"}
    assert sum(ready.stages.values()) < sum(other.stages.values())
