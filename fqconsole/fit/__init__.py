"""The memory preview: pure arithmetic on a model description, before anything runs."""

from fqconsole.fit.capacity import Capacity, capacity_here, named_gpu
from fqconsole.fit.explain import explain, split_sentence
from fqconsole.fit.preview import FitPreview, Option, preview, session_split
from fqconsole.fit.term import Term

__all__ = [
    "Capacity", "FitPreview", "Option", "Term", "capacity_here", "explain", "named_gpu", "preview",
    "session_split", "split_sentence",
]  # fmt: skip
