"""A small description of each family of models, for our own forward; the rest runs through transformers'."""

from typing import Any

from fqconsole.generation.families.dense import DENSE
from fqconsole.generation.families.family import Family
from fqconsole.generation.families.routed import ROUTED

__all__ = ["FAMILIES", "Family", "family_of"]

FAMILIES = (*DENSE, *ROUTED)


def family_of(config: Any) -> Family | None:
    """The family of a transformers config, or None where ours would not compute what that model does."""
    if _position_dependent(config.get_text_config()):
        return None
    return next((family for family in FAMILIES if config.model_type in family.model_types), None)


def _position_dependent(config: Any) -> bool:
    """Rotary frequencies that change with every further token ("dynamic"): no table holds them."""
    stated = getattr(config, "rope_parameters", None) or {}
    each = [part for part in stated.values() if isinstance(part, dict)] or [stated]
    return any(part.get("rope_type") == "dynamic" for part in each)
