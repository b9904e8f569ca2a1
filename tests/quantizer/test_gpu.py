"""On a GPU the same bytes are written as on the CPU."""

import subprocess
import sys

import pytest
import torch

from fqconsole.errors import DeviceError
from quantizer.checkpoint import find_unfinished
from quantizer.device import device_failures
from quantizer.engine import analyse, quantize
from quantizer.methods import methods_of
from tests.quantizer.synthetic_models import save_llama
from tests.quantizer.test_engine import digest


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_gpu_writes_the_bytes_of_the_cpu(tmp_path, bits, dtype):
    description = save_llama(tmp_path / "m", hidden=256, inner=512, dtype=dtype)
    plan = analyse(description, bits=bits, device="cuda")
    assert plan == analyse(description, bits=bits, device="cpu")
    for device in ("cuda", "cpu"):
        quantize(description, plan, tmp_path / device, device=device)
    on_gpu, on_cpu = digest(tmp_path / "cuda"), digest(tmp_path / "cpu")
    assert {name for name in on_cpu if on_cpu[name] != on_gpu[name]} <= {"fqconsole_manifest.json"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("mode", ["finequant", "fast", "best"])
def test_the_gpu_holds_less_than_four_times_the_largest_matrix(tmp_path, mode):
    description = save_llama(tmp_path / "m", layers=1, hidden=4096, inner=8192)
    largest = 2 * 8192 * 4096
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    plan = analyse(description, bits=4, methods=methods_of(mode), device="cuda:0")
    quantize(description, plan, tmp_path / "out", device="cuda:0")
    assert torch.cuda.max_memory_allocated() < 4 * largest


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no two GPUs here")
def test_several_gpus_share_a_model_and_write_the_bytes_of_one(tmp_path):
    description = save_llama(tmp_path / "m", layers=8, hidden=1024, inner=4096, shards=2)
    plan = analyse(description, bits=4, device="cuda:0")
    quantize(description, plan, tmp_path / "one", device="cuda:0")
    for index in range(torch.cuda.device_count()):
        torch.cuda.reset_peak_memory_stats(index)
    quantize(description, plan, tmp_path / "all", device="cuda")
    assert all(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
    assert digest(tmp_path / "one") == digest(tmp_path / "all")


LOSING = """
import sys
from pathlib import Path

import torch

from fqconsole.errors import DeviceError
from tests.quantizer.synthetic_models import describe
from quantizer import streaming
from quantizer.engine import analyse, quantize

rows_before, calls = streaming.quantize_rows, []

def losing(*arguments, **options):
    calls.append(1)
    if len(calls) == 10:
        torch.zeros(4, device=sys.argv[2])[torch.tensor([1 << 20], device=sys.argv[2])].cpu()
    return rows_before(*arguments, **options)

streaming.quantize_rows = losing
place = Path(sys.argv[1])
description = describe(place / "m")
try:
    quantize(description, analyse(description, bits=4, device="cpu"), place / "out", device=sys.argv[2],
             part_bytes=30_000)
except DeviceError as lost:
    print(lost.what)
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_device_that_is_really_lost_is_a_sentence_and_the_next_process_goes_on(tmp_path):
    """An index out of range ends the CUDA context of its process: nothing runs there any more."""
    description = save_llama(tmp_path / "m", hidden=256, inner=512)
    command = [sys.executable, "-c", LOSING, str(tmp_path), "cuda:0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert "cuda:0 was lost" in done.stdout, done.stdout + done.stderr
    assert find_unfinished(tmp_path / "out").finished_parts > 0
    plan = analyse(description, bits=4, device="cpu")
    for name in ("out", "whole"):
        quantize(description, plan, tmp_path / name, device="cuda:0", part_bytes=30_000)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_running_out_of_device_memory_is_a_sentence():
    with pytest.raises(DeviceError, match="ran out of memory"), device_failures(torch.device("cuda:0")):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_lost_device_is_a_sentence_and_other_errors_are_themselves():
    with (
        pytest.raises(DeviceError, match=r"was lost.*goes on where it was"),
        device_failures(torch.device("cuda:0")),
    ):
        raise RuntimeError("CUDA error: unspecified launch failure")
    with pytest.raises(RuntimeError, match="shape"), device_failures(torch.device("cpu")):
        raise RuntimeError("shape mismatch")
