"""Memory is bounded by a block of rows and not by the model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quantizer.parts import StoredTensor
from quantizer.shards import build_header
from tests.quantizer.synthetic_models import llama_config

MIB = 1 << 20
SHARDS, ROWS, COLUMNS = 16, 8192, 4096  # one matrix of 64 MiB a shard: 1 GiB in all
ALLOWED = 128 * MIB  # what is under way, and the allocator's slack; the model is 1 GiB

MEASURED_RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(2)
from fqconsole.models.describe import describe_folder
from quantizer.engine import analyse, quantize

# Of this process alone: getrusage's peak would count what the parent held before the exec.
def memory(word):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(word))
    return int(line.split()[1]) * 1024

description = describe_folder(Path(sys.argv[1]), id="big", source="folder")
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
plan = analyse(description, bits=4, device="cpu")
quantize(description, plan, Path(sys.argv[2]), device="cpu")
print(memory("VmHWM") - before)
"""


@pytest.fixture
def big_model(tmp_path):
    """A model of 1 GiB in sixteen shards, all of the same random block."""
    folder = tmp_path / "big"
    folder.mkdir()
    block = np.random.default_rng(0).normal(0, 0.02, ROWS * COLUMNS // 8).astype(np.float32)
    bf16 = (block.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    weight_map = {}
    for shard in range(SHARDS):
        name = f"model.layers.{shard}.mlp.down_proj.weight"
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        header, _ = build_header([StoredTensor(name, "BF16", (ROWS, COLUMNS), ROWS * COLUMNS * 2)])
        with (folder / file).open("wb") as opened:
            opened.write(header)
            for _ in range(8):
                opened.write(bf16)
        weight_map[name] = file
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    config = llama_config(layers=SHARDS, hidden=ROWS, inner=COLUMNS)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
def test_a_gibibyte_of_model_takes_no_gibibyte_of_memory(big_model, tmp_path):
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", MEASURED_RUN, str(big_model), str(out)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=240)
    grown = int(done.stdout)
    assert grown < ALLOWED, f"{grown / MIB:.0f} MiB"
    assert sum(path.stat().st_size for path in Path(out).glob("*.safetensors")) > 256 * MIB
