"""The local generation session: load packed weights, KV cache, decode loop, sampling.

The names below load torch and transformers when they are first asked for; `fqconsole.generation.options`
never does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fqconsole.generation.answer import Generation
    from fqconsole.generation.compare import Comparison, compare
    from fqconsole.generation.session import Session, open_session

__all__ = ["Comparison", "Generation", "Session", "compare", "open_session"]

_HOME = {
    "Comparison": "compare",
    "compare": "compare",
    "Generation": "answer",
    "Session": "session",
    "open_session": "session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
