"""Checkpoints that the quantizer wrote, and a registry that is as it was after each test."""

import pytest
import torch

from quantizer.engine import analyse, quantize
from tests.generation import tiny_models
from tests.quantizer.synthetic_models import describe

SAVERS = {
    "llama": tiny_models.save_llama,
    "qwen3_moe": tiny_models.save_qwen3_moe,
    "opt": tiny_models.save_opt,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def registered(monkeypatch):
    """What `import fqconsole.transformers` does, undone after the test."""
    from transformers.quantizers import auto

    for table in (auto.AUTO_QUANTIZER_MAPPING, auto.AUTO_QUANTIZATION_CONFIG_MAPPING):
        monkeypatch.setitem(table, "compressed-tensors", table["compressed-tensors"])
    from fqconsole.transformers import register

    register()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """`checkpoint("llama", 4)` → a folder that the quantizer wrote; read it, never write it."""
    base = tmp_path_factory.mktemp("checkpoints")

    def make(name, bits, dtype=torch.bfloat16):
        source = base / f"{name}-{dtype}"
        if not source.exists():
            SAVERS[name](source, dtype=dtype)
            tiny_models.write_tokenizer(source)
        out = base / f"{source.name}-{bits}"
        if not out.exists():
            description = describe(source)
            quantize(description, analyse(description, bits=bits, device="cpu"), out, device="cpu")
        return out

    return make
