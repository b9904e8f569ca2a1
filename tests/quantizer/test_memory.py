"""Memory is bounded by what is under way and not by the model."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks._checkpoint import write_checkpoint

MIB, GIB = 1 << 20, 1 << 30
GIGABYTES = 2.0
LARGEST = 2 * 8192 * 2048  # bytes of the largest matrix of the synthetic model
ALLOWED = 256 * MIB  # what is under way, and the allocator's slack; the model is 2 GB

MEASURED_RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(2)
from fqconsole.models.describe import describe_folder
from quantizer.engine import analyse, quantize
from quantizer.methods import methods_of

# Of this process alone: getrusage's peak would count what the parent held before the exec.
def memory(word):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(word))
    return int(line.split()[1]) * 1024

description = describe_folder(Path(sys.argv[1]), id="big", source="folder")
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
plan = analyse(description, bits=4, methods=methods_of(sys.argv[3]), device="cpu")
quantize(description, plan, Path(sys.argv[2]), device="cpu")
print(before, memory("VmHWM"))
"""


@pytest.fixture(scope="module")
def big_model(tmp_path_factory):
    """A Llama of 2 GB in shards of about 1 GB."""
    folder = write_checkpoint(tmp_path_factory.mktemp("big") / "model", GIGABYTES)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_two_gigabytes_of_model_take_no_gigabyte_of_memory(big_model, tmp_path):
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", MEASURED_RUN, str(big_model), str(out), "best"]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=True, timeout=240, cwd=Path(__file__).parents[2]
    )
    before, peak = map(int, done.stdout.split())
    assert peak - before < ALLOWED, f"{(peak - before) / MIB:.0f} MiB"
    assert peak < 1.5 * GIB + 3 * LARGEST, f"{peak / MIB:.0f} MiB"
    assert sum(path.stat().st_size for path in out.glob("*.safetensors")) > GIGABYTES * 1e9 / 4
