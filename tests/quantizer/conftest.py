"""Fixtures of the quantizer's tests."""

import os

import pytest
import torch

from tests.quantizer.synthetic_models import save_llama


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """The suite shares a small machine, and what is finished when is the same on every machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sharded_llama(tmp_path_factory):
    """A Llama of three layers in four shards; not to be changed."""
    return save_llama(tmp_path_factory.mktemp("sharded") / "llama", layers=3, shards=4)
