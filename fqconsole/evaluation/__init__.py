"""Perplexity, KL divergence and top-1 agreement of one model against another.

`read_text` is torch-free; `evaluate` loads torch when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fqconsole.evaluation.text import read_text

if TYPE_CHECKING:
    from fqconsole.evaluation.scoring import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate", "read_text"]


def __getattr__(name: str) -> Any:
    if name not in ("Evaluation", "evaluate"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.scoring"), name)
