"""The safetensors writer against the official reader, and what a failing disk makes of it."""

import errno
import hashlib
import os
import resource

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from fqconsole.errors import OperatorError
from fqconsole.models.safetensors_header import read_header
from quantizer.disk import write_file
from quantizer.parts import StoredTensor
from quantizer.shards import ShardWriter
from quantizer.source import as_bytes

DTYPES = {
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F32": torch.float32,
    "U8": torch.uint8,
}


def stored(name, tensor):
    word = next(word for word, dtype in DTYPES.items() if dtype == tensor.dtype)
    return StoredTensor(name, word, tuple(tensor.shape), tensor.numel() * tensor.element_size())


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(1, 5), min_size=0, max_size=3)),
        min_size=1,
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_any_tensors_written_in_any_order_load_in_safetensors(tmp_path_factory, made, random):
    folder = tmp_path_factory.mktemp("shard")
    tensors = {
        f"t{index}.weight": torch.randint(0, 100, shape).to(DTYPES[word])
        for index, (word, shape) in enumerate(made)
    }
    writer = ShardWriter(folder, "m.safetensors", [stored(name, t) for name, t in tensors.items()])
    order = list(tensors)
    random.shuffle(order)
    for name in order:
        data = as_bytes(tensors[name])
        half = len(data) // 2
        writer.write(name, data[half:], half)
        writer.write(name, data[:half])
    shard = writer.finish()
    loaded = load_file(folder / "m.safetensors")
    assert {name: t.tolist() for name, t in loaded.items()} == {
        name: t.tolist() for name, t in tensors.items()
    }
    content = (folder / "m.safetensors").read_bytes()
    assert (shard.bytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert all(
        info.start % (info.bytes // max(1, info.elements)) == 0 for info in read_header(folder / shard.file)
    )


def one_tensor(size=1000):
    return [StoredTensor("w", "U8", (size,), size)]


def test_a_file_has_its_name_only_when_it_is_finished(tmp_path):
    writer = ShardWriter(tmp_path, "m.safetensors", one_tensor())
    writer.write("w", np.zeros(500, np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors.tmp"]
    with pytest.raises(ValueError, match="500 bytes were not written"):
        writer.finish()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_full_disk_is_a_sentence_and_leaves_no_file(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OperatorError, match=r"disk under .* is full.*Free space"):
        ShardWriter(tmp_path, "m.safetensors", one_tensor())
    assert list(tmp_path.iterdir()) == []


def test_a_real_limit_on_file_size_is_a_sentence(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OperatorError, match="larger than a file may be"):
            ShardWriter(tmp_path, "m.safetensors", one_tensor(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_can_not_reserve_space_is_written_all_the_same(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    writer = ShardWriter(tmp_path, "m.safetensors", one_tensor(10))
    writer.write("w", np.arange(10, dtype=np.uint8))
    writer.finish()
    assert load_file(tmp_path / "m.safetensors")["w"].tolist() == list(range(10))


def test_a_small_file_is_whole_or_not_there(tmp_path, monkeypatch):
    write_file(tmp_path / "a", b"one")
    assert (tmp_path / "a").read_bytes() == b"one"

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OperatorError, match="is full"):
        write_file(tmp_path / "a", b"two")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"one")]
