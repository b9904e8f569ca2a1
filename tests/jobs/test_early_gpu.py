"""The driver is woken for the GPU that a session will use, and nothing that fails there ends anything."""

import pytest

from fqconsole.jobs import early_gpu

WHOLE = ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain"]


class StandInDriver:
    """Notes what is asked of it, and of which GPU; the call `refuses` fails."""

    def __init__(self, refuses=""):
        self.refuses = refuses
        self.calls = []
        self.index = None

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name == "cuDeviceGet":
                self.index = arguments[1]
            return 999 if name == self.refuses else 0

        return call


@pytest.fixture
def driver(monkeypatch):
    found = StandInDriver()
    monkeypatch.setattr(early_gpu.ctypes, "CDLL", lambda name: found)
    monkeypatch.setattr(early_gpu, "_torch_has_cuda", lambda: True)
    monkeypatch.setenv("CUDA_MODULE_LOADING", "LAZY")
    return found


@pytest.mark.parametrize(("word", "index"), [("auto", 0), ("cuda", 0), ("cuda:3", 3)])
def test_the_gpu_of_the_word_is_woken(driver, word, index):
    early_gpu.wake_gpu(word).join()
    assert driver.calls == WHOLE
    assert driver.index == index


@pytest.mark.parametrize("word", ["cpu", "cuda:x", "tpu", ""])
def test_other_words_wake_nothing(driver, word):
    assert early_gpu.wake_gpu(word) is None
    assert driver.calls == []


def test_a_torch_for_the_cpu_wakes_nothing(driver, monkeypatch):
    monkeypatch.setattr(early_gpu, "_torch_has_cuda", lambda: False)
    assert early_gpu.wake_gpu("cuda") is None


def test_without_a_driver_nothing_is_woken(monkeypatch):
    monkeypatch.setattr(early_gpu, "_torch_has_cuda", lambda: True)
    monkeypatch.setattr(early_gpu, "DRIVER", "no-such-library.so")
    assert early_gpu.wake_gpu("cuda") is None


@pytest.mark.parametrize(("refuses", "count"), [("cuInit", 1), ("cuDeviceGet", 2), (WHOLE[2], 3)])
def test_what_the_driver_refuses_is_left_to_torch(refuses, count):
    found = StandInDriver(refuses)
    early_gpu._make_context(found, 1)
    assert found.calls == WHOLE[:count]
