"""llama.cpp's plain types as its Python package quantizes them; the K types it can only read."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.peers.peer import Rebuilt, Setting

TYPES = ((4, "Q4_0"), (4, "Q4_1"), (8, "Q8_0"))


def settings() -> list[Setting]:
    """Raises ImportError where it is not installed."""
    gguf: Any = import_module("gguf")
    quants: Any = import_module("gguf.quants")

    def setting(bits: int, word: str) -> Setting:
        kind = gguf.GGMLQuantizationType[word]

        def rebuild(weight: Tensor) -> Rebuilt:
            kept = quants.quantize(weight.float().cpu().numpy(), kind)
            return Rebuilt(torch.from_numpy(quants.dequantize(kept, kind)), kept.nbytes * 8)

        return Setting("llama.cpp", bits, word, rebuild)

    return [setting(*choice) for choice in TYPES]
