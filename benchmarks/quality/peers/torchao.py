"""torchao: its integer weights of any width, by largest magnitude and by its HQQ search for the scale.

It keeps narrow codes one to a byte; they are counted as if they were packed.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.peers.peer import Rebuilt, Setting

GROUP = 64
SCALE_BITS = 16


def settings() -> list[Setting]:
    """Raises ImportError where it is not installed."""
    quantization: Any = import_module("torchao.quantization")
    granularity: Any = import_module("torchao.quantization.granularity")
    workflows: Any = import_module("torchao.quantization.quantize_.workflows")
    algorithms: Any = workflows.IntxChooseQParamsAlgorithm

    def setting(bits: int, group: int | None, search: bool) -> Setting:
        config = quantization.IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, f"int{bits}"),
            granularity=granularity.PerGroup(group) if group else granularity.PerAxis(0),
            intx_choose_qparams_algorithm=algorithms.HQQ_SCALE_ONLY if search else algorithms.AFFINE,
        )

        def rebuild(weight: Tensor) -> Rebuilt:
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
            linear.weight = torch.nn.Parameter(weight, requires_grad=False)
            quantization.quantize_(linear, config)
            kept: Any = linear.weight
            if bool(kept.zero_point.any()):
                raise ValueError("symmetric codes were expected")
            codes = kept.qdata.float().reshape(*kept.scale.shape, -1)
            exact = (codes * kept.scale.float().unsqueeze(-1)).reshape(weight.shape)
            return Rebuilt(exact, bits * weight.numel() + SCALE_BITS * kept.scale.numel())

        where = f"groups of {group}" if group else "channel"
        return Setting("torchao", bits, f"{where}, HQQ scales" if search else where, rebuild)

    narrow = [setting(bits, GROUP, search) for bits in (3, 4) for search in (False, True)]
    return [*narrow, setting(8, None, False), setting(8, GROUP, False)]
