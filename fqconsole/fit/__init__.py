"""The memory preview: pure arithmetic on a model description, before anything runs."""

from fqconsole.fit.capacity import Capacity, capacity_here, named_gpu
from fqconsole.fit.explain import explain
from fqconsole.fit.preview import FitPreview, Option, layer_ends, preview
from fqconsole.fit.term import Term

__all__ = [
    "Capacity", "FitPreview", "Option", "Term", "capacity_here", "explain", "layer_ends", "named_gpu",
    "preview",
]  # fmt: skip
