"""HQQ: zero points fitted half-quadratically, no data. Scales and zeros are float16, its own default."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.peers.peer import Rebuilt, Setting, tensor_bits

# Groups along K (axis 1), which its kernels need, and across (axis 0), which its authors find better.
CHOICES = ((3, 64, 1), (3, 128, 1), (3, 64, 0), (4, 64, 1), (4, 128, 1), (4, 64, 0), (8, 64, 1), (8, 128, 1))


def settings() -> list[Setting]:
    """Raises ImportError where it is not installed."""
    quantizer: Any = import_module("hqq.core.quantize").Quantizer

    def setting(bits: int, group: int, axis: int) -> Setting:
        def rebuild(weight: Tensor) -> Rebuilt:
            device = str(weight.device)
            codes, meta = quantizer.quantize(weight, nbits=bits, group_size=group, axis=axis, device=device)
            meta["compute_dtype"] = torch.float16
            codes, meta = quantizer.to_inplace(codes, meta, device=device)
            kept = tensor_bits(codes, meta["scale"], meta["zero"])
            exact = {
                key: value.float() if isinstance(value, Tensor) else value for key, value in meta.items()
            }
            exact["compute_dtype"] = torch.float32
            return Rebuilt(quantizer.dequantize(codes, exact), kept)

        across = "" if axis else " across rows"
        return Setting("HQQ", bits, f"groups of {group}{across}", rebuild)

    return [setting(*choice) for choice in CHOICES]
