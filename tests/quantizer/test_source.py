"""Reading and hashing a file block by block."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fqconsole.errors import OperatorError
from fqconsole.models.safetensors_header import read_header
from quantizer.source import TensorFile, file_sha256


@pytest.fixture
def tensors(tmp_path):
    made = {
        "a": torch.randn(7, 10).bfloat16(),
        "b": torch.arange(12, dtype=torch.int64),
        "c": torch.randn(3, 4, 5),
    }
    save_file(made, tmp_path / "m.safetensors")
    return made, tmp_path / "m.safetensors"


def test_tensors_and_rows_come_back_as_saved(tensors):
    made, path = tensors
    infos = {info.name: info for info in read_header(path)}
    with TensorFile(path) as opened:
        for name, tensor in made.items():
            assert torch.equal(opened.tensor(infos[name]), tensor)
        assert torch.equal(opened.rows(infos["a"], 2, 3), made["a"][2:5])
        assert torch.equal(opened.rows(infos["c"], 4, 5), made["c"].reshape(12, 5)[4:9])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 900)), max_size=12))
def test_the_hash_is_the_files_own_however_it_was_read(tmp_path_factory, reads):
    path = tmp_path_factory.mktemp("hash") / "file"
    data = np.random.default_rng(3).integers(0, 256, 4900, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    with TensorFile(path, hashed=True) as opened:
        for start, length in reads:
            assert opened.read(start, length).tobytes() == data[start : start + length]
        assert opened.sha256() == hashlib.sha256(data).hexdigest()


def test_a_file_that_ends_early_is_named(tmp_path):
    (tmp_path / "short").write_bytes(b"abc")
    with TensorFile(tmp_path / "short") as opened, pytest.raises(OperatorError, match=r"short is truncated"):
        opened.read(0, 10)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OperatorError, match=r"gone can't be read.*Download or copy"):
        file_sha256(tmp_path / "gone")
