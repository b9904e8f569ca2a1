"""16-bit checkpoint in, quantized checkpoint out: scheme, granularity, rounding, plan, streaming, resume.

Importing this package loads next to nothing; `make_plan`, `quantize` and `open_checkpoint`, the library's way
in, load torch when they are first asked for. See docs/python-api.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quantizer.plan import Plan, plan_bits_per_weight, predicted_bytes

if TYPE_CHECKING:
    from quantizer.base import base_plan
    from quantizer.library import make_plan, quantize
    from quantizer.reader import Checkpoint, open_checkpoint

__all__ = [
    "Checkpoint",
    "Plan",
    "base_plan",
    "make_plan",
    "open_checkpoint",
    "plan_bits_per_weight",
    "predicted_bytes",
    "quantize",
]

_HOME = {
    "base_plan": "base",
    "make_plan": "library",
    "quantize": "library",
    "Checkpoint": "reader",
    "open_checkpoint": "reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
