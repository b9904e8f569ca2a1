"""bitsandbytes: NF4 in blocks of 64, with and without scales quantized again, and LLM.int8's rows.

The tables that are the same for every matrix (code book, the map of nested scales) are not counted.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.peers.peer import Rebuilt, Setting, tensor_bits

BLOCK = 64


def settings() -> list[Setting]:
    """Raises ImportError where it is not installed."""
    functional: Any = import_module("bitsandbytes.functional")

    def nf4(nested: bool) -> Setting:
        def rebuild(weight: Tensor) -> Rebuilt:
            codes, state = functional.quantize_4bit(
                weight.float().contiguous(), blocksize=BLOCK, quant_type="nf4", compress_statistics=nested
            )
            scales = [state.absmax, state.state2.absmax] if nested else [state.absmax]
            return Rebuilt(functional.dequantize_4bit(codes, state).float(), tensor_bits(codes, *scales))

        return Setting("bitsandbytes", 4, "NF4, double quantization" if nested else "NF4", rebuild)

    def int8(weight: Tensor) -> Rebuilt:
        codes, scales, _ = functional.int8_vectorwise_quant(weight.to(torch.float16))
        return Rebuilt(codes.float() * (scales.float() / 127).unsqueeze(1), tensor_bits(codes, scales))

    return [nf4(False), nf4(True), Setting("bitsandbytes", 8, "int8 rows", int8)]
