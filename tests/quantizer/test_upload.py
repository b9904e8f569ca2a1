"""What is read through page-locked blocks arrives as it lies in the file; the GPU's events are stand-ins."""

import pytest
import torch
from safetensors.torch import save_file

from fqconsole.errors import OperatorError
from fqconsole.models.weight_files import read_tensors
from quantizer import upload
from quantizer.source import TensorFile
from quantizer.upload import Upload

SLOTS, BLOCK = 3, 256


class Copied:
    """A copy that is done when it is asked about, and not before."""

    def __init__(self, memory):
        self.memory = memory
        self.records = 0

    def record(self, stream):
        self.records += 1

    def synchronize(self):
        self.memory.fill_(0xEE)  # whoever still needed these bytes would see it


@pytest.fixture
def stored(tmp_path):
    generator = torch.Generator().manual_seed(2)
    tensors = {
        "few": torch.randint(-100, 100, (7,), dtype=torch.int8, generator=generator),
        "odd": torch.randn(33, 61, generator=generator).bfloat16(),
        "whole": torch.randint(-(2**31), 2**31, (4, SLOTS * BLOCK), dtype=torch.int32, generator=generator),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", tensors, {info.name: info for info in read_tensors(tmp_path)}


@pytest.fixture
def slots(monkeypatch):
    monkeypatch.setattr(upload, "BLOCK", BLOCK)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    memories = [torch.empty(BLOCK, dtype=torch.uint8) for _ in range(SLOTS)]
    return [upload._Slot(memory, memory.numpy(), Copied(memory)) for memory in memories]


@pytest.mark.parametrize("name", ["few", "odd", "whole"])
def test_blocks_arrive_in_their_places(stored, slots, name):
    path, tensors, infos = stored
    loader = Upload()
    with TensorFile(path) as file:
        for _ in range(3):  # the slots go on from where they were
            out = torch.empty(infos[name].bytes, dtype=torch.uint8)
            loader._fill(out, file, infos[name].start, slots)
            assert torch.equal(out.view(tensors[name].dtype).reshape(tensors[name].shape), tensors[name])
    loader.close()
    assert sum(slot.copied.records for slot in slots) == 3 * -(-infos[name].bytes // BLOCK)


def test_a_file_that_ends_early_is_told(stored, slots):
    path, _, infos = stored
    path.write_bytes(path.read_bytes()[: infos["whole"].start + 5 * BLOCK - 1])
    loader = Upload()
    out = torch.empty(infos["whole"].bytes, dtype=torch.uint8)
    with TensorFile(path) as file, pytest.raises(OperatorError, match="truncated"):
        loader._fill(out, file, infos["whole"].start, slots)
    loader.close()


def test_a_cpu_reads_as_before_and_takes_no_threads(stored):
    path, tensors, infos = stored
    loader = Upload()
    with TensorFile(path) as file:
        for name, tensor in tensors.items():
            assert torch.equal(loader.load(file, infos[name], "cpu"), tensor)
    assert loader._readers is None
    loader.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine locks memory")
def test_without_locked_memory_there_are_no_slots():
    assert Upload()._slots_of(torch.device("cuda", 0)) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_bytes(tmp_path):
    weights = torch.randint(-(2**31), 2**31, (5, 3 * upload.BLOCK // 4 + 1), dtype=torch.int32)
    save_file({"weights": weights}, tmp_path / "model.safetensors")
    (info,) = read_tensors(tmp_path)
    loader = Upload()
    with TensorFile(tmp_path / "model.safetensors") as file:
        found = [loader.load(file, info, "cuda") for _ in range(3)]
    loader.close()
    assert all(torch.equal(tensor.cpu(), weights) for tensor in found)
