"""What a word for a device stands for."""

import pytest
import torch

from fqconsole.errors import UsageError
from quantizer.device import resolve_device


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
