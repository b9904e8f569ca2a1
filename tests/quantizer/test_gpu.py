"""On a GPU the same bytes are written as on the CPU."""

import pytest
import torch

from fqconsole.errors import DeviceError
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
