"""optimum-quanto: int4 in its default groups of 128 by range and by its HQQ, and int8 rows."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.peers.peer import Rebuilt, Setting, tensor_bits

GROUP = 128


def settings() -> list[Setting]:
    """Raises ImportError where it is not installed."""
    quanto: Any = import_module("optimum.quanto")

    def int4(optimizer: str, detail: str) -> Setting:
        def rebuild(weight: Tensor) -> Rebuilt:
            group = group_of(weight.shape[1])
            scale, shift = getattr(quanto, optimizer)()(weight, quanto.qint4, axis=0, group_size=group)
            kept = quanto.quantize_weight(
                weight, quanto.qint4, axis=0, group_size=group, scale=scale, shift=shift, optimized=False
            )
            # its own order, without its extension: that one is compiled when it is first asked for
            packed = kept._data._data
            codes = torch.cat((packed & 15, packed >> 4))[: kept._data.shape[0]].float()
            exact = (codes * kept._scale.float() - kept._shift.float()).reshape(weight.shape)
            return Rebuilt(exact, tensor_bits(packed, kept._scale, kept._shift))

        return Setting("optimum-quanto", 4, detail, rebuild)

    def int8(weight: Tensor) -> Rebuilt:
        scale = quanto.AbsmaxOptimizer()(weight, quanto.qint8, axis=0)
        kept = quanto.quantize_weight(weight, quanto.qint8, axis=0, scale=scale, optimized=False)
        return Rebuilt(kept._data.float() * kept._scale.float(), tensor_bits(kept._data, kept._scale))

    return [
        int4("MaxOptimizer", f"groups of {GROUP}"),
        int4("HqqOptimizer", f"groups of {GROUP}, HQQ"),
        Setting("optimum-quanto", 8, "rows", int8),
    ]


def group_of(k: int) -> int | None:
    """Its own rule: the largest of 128, 96, 64 and 32 that divides the row, or the whole row."""
    return next((group for group in range(GROUP, 0, -32) if k % group == 0), None) if k > GROUP else None
