"""SINQ: a scale for each row of a group and one for each column, in its default form.

Scales and zeros are quantized again to 8 bits; what these are scaled with, and the column scales, count
16 bits a number. It imports `datasets`, which this use does not need.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.peers.peer import Rebuilt, Setting, tensor_bits

CHOICES = ((3, 64), (4, 64), (8, 64))
AUXILIARY_BITS = 16


def settings() -> list[Setting]:
    """Raises ImportError where it is not installed."""
    quantizer: Any = import_module("sinq.quantizer").Quantizer

    def setting(bits: int, group: int) -> Setting:
        def rebuild(weight: Tensor) -> Rebuilt:
            codes, meta = quantizer.quantize(
                weight,
                None,
                nbits=bits,
                group_size=group,
                axis=1,
                tiling_mode="1D",
                method="sinq_quantAux",
                device=str(weight.device),
                compute_dtype=torch.float32,
            )
            small = [meta["scale2"], *meta["scale"][1:3], *meta["zero"][1:3]]
            kept = tensor_bits(codes, meta["scale"][0], meta["zero"][0])
            kept += AUXILIARY_BITS * sum(tensor.numel() for tensor in small)
            return Rebuilt(quantizer.dequantize(codes, meta).float(), kept)

        return Setting("SINQ", bits, f"groups of {group}", rebuild)

    return [setting(*choice) for choice in CHOICES]
