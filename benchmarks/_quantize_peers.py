"""Other data-free quantizers on one weight in memory: each is a function that quantizes it.

Each is used as its own documentation says, at 4 bits and groups of 64 (8 bits where it says so).
"""

import contextlib
import io
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

GROUP = 64
Quantize = Callable[[], Any]


def _hqq(weight: Tensor, *, optimize: bool) -> Quantize:
    quantizer: Any = import_module("hqq.core.quantize").Quantizer
    options = {"nbits": 4, "group_size": GROUP, "axis": 1, "optimize": optimize}
    return lambda: quantizer.quantize(
        weight, **options, device=str(weight.device), compute_dtype=weight.dtype
    )


def _hqq_solver(weight: Tensor) -> Quantize:
    return _hqq(weight, optimize=True)


def _hqq_plain(weight: Tensor) -> Quantize:
    return _hqq(weight, optimize=False)


def _quanto(weight: Tensor) -> Quantize:
    quanto: Any = import_module("optimum.quanto")

    def run() -> Any:
        scale, shift = quanto.MaxOptimizer()(weight, quanto.qint4, axis=0, group_size=GROUP)
        return quanto.quantize_weight(
            weight, quanto.qint4, axis=0, group_size=GROUP, scale=scale, shift=shift
        )

    return run


def _torchao(weight: Tensor) -> Quantize:
    quantization: Any = import_module("torchao.quantization")
    granularity: Any = import_module("torchao.quantization.granularity")
    config = quantization.IntxWeightOnlyConfig(
        weight_dtype=vars(torch)["int4"], granularity=granularity.PerGroup(GROUP)
    )
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")

    def run() -> Any:
        linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        quantization.quantize_(linear, config)
        return linear.weight

    return run


def _bitsandbytes_nf4(weight: Tensor) -> Quantize:
    functional: Any = import_module("bitsandbytes.functional")
    return lambda: functional.quantize_4bit(weight, blocksize=GROUP, quant_type="nf4")


def _bitsandbytes_int8(weight: Tensor) -> Quantize:
    functional: Any = import_module("bitsandbytes.functional")
    return lambda: functional.quantize_blockwise(weight)


PEERS: dict[str, Callable[[Tensor], Quantize]] = {
    "HQQ": _hqq_solver,
    "HQQ without its solver": _hqq_plain,
    "optimum-quanto int4": _quanto,
    "torchao int4": _torchao,
    "bitsandbytes NF4": _bitsandbytes_nf4,
    "bitsandbytes 8-bit blocks": _bitsandbytes_int8,
}


def prepare(name: str, weight: Tensor) -> tuple[Quantize | None, str]:
    """(function that quantizes `weight` once, "") or (None, the sentence why this peer is left out)."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run = PEERS[name](weight)
            run()
    except ImportError as missing:
        return None, f"{name} is not installed here ({missing})."
    except Exception as failure:  # noqa: BLE001 -- a peer's trouble must not end the others
        first = str(failure).splitlines()[0] if str(failure) else ""
        return None, f"{name} failed on {weight.device}: {type(failure).__name__}: {first[:120]}"
    return run, ""
