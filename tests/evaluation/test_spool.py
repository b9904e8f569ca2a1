"""What goes to disk comes back, and a disk that is too small is noticed before the work."""

import shutil
from collections import namedtuple

import pytest
import torch

from fqconsole.errors import OperatorError
from fqconsole.evaluation.spool import SPARE_BYTES, Spool, check_disk, spool_bytes

Usage = namedtuple("Usage", "total used free")


def test_values_come_back_in_order(tmp_path):
    first, second = torch.randn(2, 3, 5), torch.randn(1, 4, 5)
    spool = Spool(tmp_path / "new")
    spool.write(first)
    spool.write(second)
    spool.rewind()
    cpu = torch.device("cpu")
    assert torch.equal(spool.read((2, 3, 5), cpu), first)
    assert torch.equal(spool.read((1, 4, 5), cpu), second)
    with pytest.raises(EOFError):
        spool.read((1,), cpu)
    spool.close()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_small_disk_is_refused_with_what_would_do(tmp_path, monkeypatch):
    needed = spool_bytes(1000, 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, SPARE_BYTES + needed // 2))
    with pytest.raises(OperatorError) as refused:
        check_disk(tmp_path, needed, 1000)
    assert "3.9 GiB" in refused.value.what
    assert "500 tokens" in refused.value.next_step
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, SPARE_BYTES + needed))
    check_disk(tmp_path, needed, 1000)
