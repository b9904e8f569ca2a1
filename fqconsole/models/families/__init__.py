"""A small description of each family of models, for our own forward; the rest runs through transformers'.

Which forward a session takes is decided here alone, for a config.json and for transformers' config alike.
"""

from collections.abc import Callable
from typing import Any

from fqconsole.models.families.dense import DENSE
from fqconsole.models.families.family import Family
from fqconsole.models.families.routed import ROUTED

__all__ = ["FAMILIES", "Family", "family_named", "family_of", "known_family"]

FAMILIES = (*DENSE, *ROUTED)
Field = Callable[[str], Any]


def known_family(model_type: str, field: Field) -> Family | None:
    """The family of a model of this type, or None where ours would not compute what the model does.

    `model_type` is that of the whole model, `field(name)` a field of its language model's config, None where
    it is not set.
    """
    if _position_dependent(field) or _unknown(field):
        return None
    return family_named(model_type)


def family_named(model_type: str) -> Family | None:
    """The family that has models of this type."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def family_of(config: Any) -> Family | None:
    """The same of a config of transformers."""
    text = config.get_text_config()
    return known_family(config.model_type, lambda name: getattr(text, name, None))


def _position_dependent(field: Field) -> bool:
    """Rotary frequencies that change with every further token ("dynamic"): no table holds them."""
    for stated in (field("rope_parameters"), field("rope_scaling")):
        if isinstance(stated, dict):
            each = [part for part in stated.values() if isinstance(part, dict)] or [stated]
            if any("dynamic" in (part.get("rope_type"), part.get("type")) for part in each):
                return True
    return False


def _unknown(field: Field) -> bool:
    """Options that few models of a family use and ours doesn't compute."""
    clips_after_norm = field("clip_qkv") is not None and field("model_type") == "olmoe"
    return (
        clips_after_norm or bool(field("use_bidirectional_attention")) or bool(field("add_cross_attention"))
    )
