"""What a word for a device stands for."""

import os

import pytest
import torch

from fqconsole.errors import UsageError
from quantizer.device import (
    reader_count,
    resolve_device,
    resolve_devices,
    tasks_under_way,
    unit_weights,
    workers_of,
)


def test_words_for_devices(monkeypatch):
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(resolve_device("auto")) == "cuda:0"
    assert str(resolve_device("cuda")) == "cuda:0"
    assert str(resolve_device("cuda:1")) == "cuda:1"


@pytest.mark.parametrize("word", ["mps", "nonsense", "cuda:99"])
def test_another_word_is_refused(word):
    with pytest.raises(UsageError):
        resolve_device(word)


def test_every_gpu_with_memory_to_spare_helps_and_a_named_one_works_alone(monkeypatch):
    free = {0: 0, 1: 3 << 30, 2: 1 << 30, 3: 80 << 30}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device.index], 80 << 30))
    assert [str(device) for device in resolve_devices("auto")] == ["cuda:0", "cuda:1", "cuda:3"]
    assert resolve_devices("cuda") == resolve_devices("auto")
    assert [str(device) for device in resolve_devices("cuda:2")] == ["cuda:2"]
    assert [str(device) for device in resolve_devices("cpu")] == ["cpu"]


def test_workers_are_three_a_gpu_and_one_a_core():
    gpus = (torch.device("cuda", 0), torch.device("cuda", 1))
    assert [str(device) for device in workers_of(gpus)] == ["cuda:0"] * 3 + ["cuda:1"] * 3
    assert len(workers_of((torch.device("cpu"),))) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("largest", [1 << 24, 59 << 20, 1 << 28])
def test_three_workers_units_hold_less_on_a_gpu_than_four_times_the_largest_matrix(largest):
    """About 20 bytes a weight."""
    unit = unit_weights(torch.device("cuda", 0), largest)
    assert 3 * unit * 20 < 4 * 2 * largest


def test_what_waits_in_page_locked_memory_is_bounded_whatever_the_model(monkeypatch):
    """A unit for each task under way, and one for each reader whose hash is still at it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    gpu = torch.device("cuda", 0)
    units = tasks_under_way(workers_of((gpu,))) + reader_count(gpu)
    assert units * 2 * unit_weights(gpu, 1 << 30) < 384 << 20
    assert reader_count(gpu) > reader_count(torch.device("cpu"))
