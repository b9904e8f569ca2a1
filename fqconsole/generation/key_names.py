"""Which tensor of a checkpoint goes to which parameter of the transformers model.

Checkpoints keep the names their authors gave; transformers 5 renames some (`block_sparse_moe` → `mlp`) and
fuses others (the experts of a layer into one parameter). The rules are transformers' own; only this module
knows them.
"""

import re
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# Experts cut out of tensors that lie fused on disk: transformers has no rule for their names, ours is here.
_EXPERT = re.compile(
    r"^(?P<experts>(?:.*\.)?experts)\.\d+\.(?P<kind>gate_up_proj|gate_proj|up_proj|down_proj)\.weight$"
)
_OUR_PARTS = {
    "gate_up_proj": (("gate_up_proj",), ("gate_proj", "up_proj")),
    "down_proj": (("down_proj",),),
}  # one of these sets of kinds makes up the parameter


@dataclass
class KeyMap:
    """`direct`: parameter → tensor name. `fused`: parameter → the tensors it is made of, in order, with their
    rule.
    """

    direct: dict[str, str] = field(default_factory=dict)
    fused: dict[str, list[tuple[str, str]]] = field(
        default_factory=dict
    )  # parameter -> (tensor name, source pattern)
    strangers: list[str] = field(default_factory=list)  # tensors the model has no place for
    rules: dict[str, Any] = field(default_factory=dict)  # source pattern -> transformers' WeightConverter


def map_keys(model: Any, names: Iterable[str]) -> KeyMap:
    """Find the place of every tensor in `names` in `model` (on meta, its modules still as transformers built
    them).
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
    )

    places = model.state_dict()
    mapping = get_model_conversion_mapping(model)
    renamings = [rule for rule in mapping if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in mapping if isinstance(rule, WeightConverter)]
    prefix = model.base_model_prefix
    found = KeyMap(rules={pattern: rule for rule in converters for pattern in rule.source_patterns})
    # Some renamings depend on what was seen before, in the natural order of the names.
    for name in sorted(names, key=dot_natural_key):
        place, pattern = rename_source_key(name, renamings, converters, prefix, places)
        if place not in places and name in places:
            place, pattern = rename_source_key(name, [], [], prefix, places)
        expert = _EXPERT.match(name) if place not in places else None
        if expert is not None:
            whole = expert["experts"] + (".down_proj" if expert["kind"] == "down_proj" else ".gate_up_proj")
            place, _ = rename_source_key(whole, renamings, converters, prefix, places)
            pattern = expert["kind"]
        if place not in places:
            found.strangers.append(name)
        elif pattern is None:
            found.direct[place] = name
        else:
            found.fused.setdefault(place, []).append((name, pattern))
    return found


def convert(
    model: Any, place: str, parts: list[tuple[str, Tensor, str]], rules: dict[str, Any]
) -> dict[str, Tensor]:
    """Make the parameters that `parts` (tensor name, tensor, source pattern) stand for, by transformers' own
    rule.
    """
    rule = deepcopy(rules[parts[0][2]])
    for name, tensor, pattern in parts:
        rule.add_tensor(place, name, pattern, lambda tensor=tensor: tensor)
    made = rule.convert(place, model=model, config=model.config)
    return {target: value[0] if isinstance(value, list) else value for target, value in made.items()}


def expert_positions(
    place: str, parts: list[tuple[str, str]], rules: dict[str, Any]
) -> list[list[str]] | None:
    """For a parameter fused from experts: one list of tensor names (in expert order) for each part of its
    rows.

    `gate_up_proj` gives `[[gate of expert 0, 1, ...], [up of expert 0, 1, ...]]`. None where the rule is
    another than stacking the experts and joining the parts along the rows.
    """
    rule = rules.get(parts[0][1])
    if rule is None:
        found = {pattern for _, pattern in parts}
        kinds = next((k for k in _OUR_PARTS[place.rpartition(".")[2]] if set(k) == found), None)
        if kinds is None:
            return None
        return [[name for name, pattern in parts if pattern == kind] for kind in kinds]
    steps = [(type(step).__name__, getattr(step, "dim", None)) for step in rule.operations]
    if steps not in ([("MergeModulelist", 0)], [("MergeModulelist", 0), ("Concatenate", 1)]):
        return None
    by_pattern: dict[str, list[str]] = {pattern: [] for pattern in rule.source_patterns}
    for name, pattern in parts:
        by_pattern[pattern].append(name)
    return list(by_pattern.values())
