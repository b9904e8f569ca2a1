"""The built-in demo models: their weights, and the corpus generator and training script that made them."""

from fqconsole.demo.builtin import BuiltinModel, builtin_models, materialize
from fqconsole.demo.corpus import heldout_text

__all__ = ["BuiltinModel", "builtin_models", "heldout_text", "materialize"]
