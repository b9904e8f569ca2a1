"""Tiny models made once for the room: the folders are read, never written."""

import shutil

import pytest

from tests.generation import tiny_models

SCHEMES = {"llama": (4, 32), "qwen3_moe": (3, 32), "opt": (8, None)}
SAVERS = {
    "llama": tiny_models.save_llama,
    "qwen3_moe": tiny_models.save_qwen3_moe,
    "opt": tiny_models.save_opt,
}


@pytest.fixture(scope="session", autouse=True)
def two_threads():
    """The machine's cores are shared."""
    import torch

    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture
def as_stored(monkeypatch):
    """This CPU computes in the dtype that is stored, as a GPU does, with instructions for it or without."""
    monkeypatch.setattr("fqconsole.generation.loading.compute_dtype", lambda stored, device: stored)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """`tiny("llama")` → (16-bit folder, packed folder, the packed values in 16 bits)."""
    base = tmp_path_factory.mktemp("tiny")

    def folders(name):
        source, packed, plain = (base / f"{name}{part}" for part in ("", "-packed", "-plain"))
        if not source.exists():
            SAVERS[name](source)
            tiny_models.write_tokenizer(source)
            bits, group_size = SCHEMES[name]
            tiny_models.quantize(source, packed, plain, bits=bits, group_size=group_size)
        return source, packed, plain

    return folders


@pytest.fixture
def packed_copy(tiny, tmp_path):
    """A packed Llama that a test may damage."""
    copy = tmp_path / "copy"
    shutil.copytree(tiny("llama")[1], copy)
    return copy
