"""The jobs that describe a config and probe a device, in real workers, on the CPU."""

import json
from pathlib import Path

import psutil
import pytest

from fqconsole.fit import Capacity
from fqconsole.fit.probe import host_name, keep_probe, probed
from fqconsole.jobs import Job
from fqconsole.jobs.messages import (
    ConfigDescribed,
    JobDone,
    JobFailed,
    ProbeDone,
    StartDescribe,
    StartProbe,
    WorkerStarted,
)
from fqconsole.models.bare_config import describe_bare, read_bare
from tests.jobs.conftest import collect

pytestmark = pytest.mark.slow
SMALL = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 99, "dtype": "bfloat16",
}  # fmt: skip


async def told(request):
    async with await Job.start(request) as job:
        events = await collect(job)
    return events, await job.wait()


async def test_a_config_is_described_with_what_its_class_fills_in(tmp_path):
    events, code = await told(StartDescribe(config=SMALL))
    assert code == 0, events[-1]
    assert isinstance(events[0], WorkerStarted)
    assert isinstance(events[-1], JobDone)
    (found,) = [event for event in events if isinstance(event, ConfigDescribed)]
    path = tmp_path / "small.json"
    path.write_text(json.dumps(SMALL))
    model = describe_bare(read_bare(path), found.shapes)
    assert (model.id, model.source, model.path) == ("small", "config", None)
    assert model.architecture == "LlamaForCausalLM"
    assert model.context_length == 2048  # the class's own
    matrices = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64)
    assert model.parameters == matrices + 2 * 99 * 64 + 5 * 64
    assert model.bytes == 2 * model.parameters


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "nothing_known"}, "model_type is 'nothing_known'"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers"),
        ({"hidden_size": 65}, "hidden"),
    ],
)
async def test_a_config_that_its_class_refuses_is_a_sentence(changes, says):
    events, code = await told(StartDescribe(config={**SMALL, **changes}))
    assert isinstance(events[-1], JobFailed)
    assert (events[-1].code, code) == ("model", 2)
    assert says in events[-1].what
    assert events[-1].next_step


async def test_the_cpu_is_probed(tmp_path, monkeypatch):
    events, code = await told(StartProbe(device="cpu"))
    assert code == 0, events[-1]
    (found,) = [event.probe for event in events if isinstance(event, ProbeDone)]
    assert found.device == host_name()
    assert found.driver == ""
    assert 100 << 20 < found.process_bytes < psutil.virtual_memory().total
    assert (found.context_bytes, found.kernels_bytes, found.workspace_bytes) == (0, 0, 0)
    assert 10**8 < found.bandwidth < 10**13
    monkeypatch.setenv("FQCONSOLE_HOME", str(tmp_path))
    keep_probe(found)
    here = probed(Capacity("this machine's memory", 1 << 40, 1 << 39, "host"))
    assert here.runtime.bytes == found.process_bytes
    assert here.bandwidths(1) == (found.bandwidth,)


def test_the_worker_measures_a_gpu_before_torch_is_loaded():
    """A probe's first reading comes before CUDA starts, so its introduction must not load torch."""
    import subprocess
    import sys

    code = (
        "import sys\nfrom fqconsole.jobs.surroundings import introduction\n"
        "from fqconsole.jobs.messages import StartProbe\n"
        "introduction(StartProbe())\nimport fqconsole.jobs.tasks.probe\nprint('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "False"
