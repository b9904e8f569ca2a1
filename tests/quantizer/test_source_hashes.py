"""Sums of source files that are begun before the files are quantized."""

import os
import threading
from pathlib import Path

import psutil
import pytest
import torch

from fqconsole.errors import OperatorError
from quantizer.source import file_sha256
from quantizer.source_hashes import SourceHashes

GPU = (torch.device("cuda", 0),)  # only its type is looked at
FILES = ("a.safetensors", "b.safetensors", "empty.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file, size in zip(FILES, (9 << 20, 4 << 20, 0), strict=True):
        (tmp_path / file).write_bytes(os.urandom(size))
    return tmp_path


def test_sums_of_whole_files(folder):
    with SourceHashes(folder) as hashes:
        hashes.begin(FILES, GPU)
        waiting = {file: hashes.take(file) for file in FILES}
        for file, wait in waiting.items():
            if wait is not None:  # else its turn had not come
                assert wait() == file_sha256(folder / file)
        assert waiting[FILES[0]] is not None or hashes.take(FILES[0]) is None


def test_what_was_not_begun_is_left_to_the_caller(folder):
    with SourceHashes(folder) as hashes:
        assert hashes.take(FILES[0]) is None
        hashes.begin(FILES[:1], (torch.device("cpu"),))
        assert hashes.take(FILES[0]) is None


def test_files_that_memory_will_not_keep_are_not_read_twice(folder, monkeypatch):
    free = psutil.virtual_memory()._replace(available=20 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with SourceHashes(folder) as hashes:
        hashes.begin(FILES, GPU)
        assert all(hashes.take(file) is None for file in FILES)


def test_a_file_that_changes_meanwhile_is_refused(folder):
    with SourceHashes(folder) as hashes:
        hashes.begin(FILES[:1], GPU)
        wait = taken(hashes, FILES[0])
        (folder / FILES[0]).write_bytes(os.urandom(9 << 20))
        with pytest.raises(OperatorError, match=r"a\.safetensors changed"):
            wait()


def test_a_missing_file_is_told_at_once(folder):
    with SourceHashes(folder) as hashes, pytest.raises(OperatorError, match="can't be read"):
        hashes.begin(["gone.safetensors"], GPU)


def test_nothing_is_read_while_the_job_is_paused_and_the_end_does_not_wait(folder):
    looked = threading.Event()

    def is_held() -> bool:
        looked.set()
        return True

    with SourceHashes(folder, is_held=is_held) as hashes:
        hashes.begin(FILES[:1], GPU)
        assert looked.wait(10)
        wait = taken(hashes, FILES[0])
    with pytest.raises(OperatorError):  # it ended before its sum was known
        wait()


def taken(hashes: SourceHashes, file: str):
    """The sum to wait for, of a file whose thread has started."""
    while not hashes._begun[file].running() and not hashes._begun[file].done():
        threading.Event().wait(0.01)
    wait = hashes.take(file)
    assert wait is not None
    return wait
