"""On a GPU the same bytes are written as on the CPU."""

import pytest
import torch

from fqconsole.errors import DeviceError
from quantizer.device import device_failures
from quantizer.engine import analyse, quantize
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
