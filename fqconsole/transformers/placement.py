"""Packed modules into a transformers model on meta, and the rules by which the loader finds their tensors.

A dense matrix keeps its name. The experts of a layer lie one by one in the checkpoint and become stacks here,
by converters of transformers' own kind, so that saving takes them apart again.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch

from fqconsole.errors import OperatorError
from fqconsole.generation.key_names import KeyMap, expert_positions, map_keys
from fqconsole.generation.modules import gate_of, linear_form
from fqconsole.models.description import TensorInfo
from fqconsole.transformers.modules import PARTS, MatrixForm, TransformersExperts, TransformersLinear
from quantizer.reader import SCALE, Checkpoint, StoredMatrix

SCALE_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
RUN_IT_HERE = "Run this checkpoint in a session of fqconsole (fqconsole generate), or dequantize it first."


Leaves = dict[str, list[tuple[str, str]]]  # parameter of an experts module → (tensor, pattern) it is made of


@dataclass
class Placement:
    """What was put into a model: pattern of the experts' names → pattern of the stack's."""

    stacks: dict[str, str] = field(default_factory=dict)
    scopes: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def add(self, source: str, target: str, scope: tuple[str | None, str | None] = (None, None)) -> None:
        """`scope`: the part of the model that the pattern speaks of, as transformers' rules have it."""
        self.stacks[source], self.scopes[source] = target, scope

    def converters(self) -> list[Any]:
        """Fresh rules of transformers' own kind, one for each part of each kind of matrix."""
        from transformers.core_model_loading import WeightConverter

        from fqconsole.transformers.stacking import StackExperts

        made = []
        for source, target in self.stacks.items():
            for part in PARTS:
                rule = WeightConverter([f"{source}_{part}"], [f"{target}_{part}"], [StackExperts()])
                rule.scope_prefix, rule.base_model_prefix = self.scopes[source]
                made.append(rule)
        return made


def place_packed(model: Any, checkpoint: Checkpoint, infos: dict[str, TensorInfo]) -> Placement:
    """Put packed modules where `checkpoint` has packed matrices; `model` is on meta, built by transformers.

    `infos` are the checkpoint's tensors by name. Raises OperatorError naming a matrix that this model has no
    packed place for.
    """
    return _Placer(model, checkpoint, infos).place()


def missing_places(model: Any, names: Iterable[str], quantizer: Any) -> list[str]:
    """Places of `model`, packed ones in it, that none of the tensors `names` comes to lie in.

    The names are mapped by the very rules that the loader is about to use.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
    )

    places = model.state_dict()
    mapping = deepcopy(get_model_conversion_mapping(model, None, quantizer))
    renamings = [rule for rule in mapping if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in mapping if isinstance(rule, WeightConverter)]
    rules = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    found = set()
    for name in sorted(names, key=dot_natural_key):
        place, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, places)
        if place not in places and name in places:
            place, pattern = rename_source_key(name, [], [], model.base_model_prefix, places)
        targets = rules[pattern].target_patterns if pattern is not None else [""]
        found |= {place.replace(targets[0], target) if targets[0] else place for target in targets}
    tied = model.all_tied_weights_keys
    missing = set(places) - found
    return sorted(name for name in missing if name not in tied or tied[name] in missing)


class _Placer:
    def __init__(self, model: Any, checkpoint: Checkpoint, infos: dict[str, TensorInfo]) -> None:
        self.model = model
        self.infos = infos
        # The name that each packed matrix would have in 16 bits: transformers' rules speak of those.
        self.packed = {
            module + ".weight": matrix for matrix in checkpoint.matrices.values() for module in matrix.modules
        }
        self.keys: KeyMap = map_keys(model, [*checkpoint.kept, *self.packed])
        self.placement = Placement()

    def place(self) -> Placement:
        lost = [name for name in self.keys.strangers if name in self.packed]
        if lost:
            raise self._no_place(lost[0])
        for place, name in self.keys.direct.items():
            if name in self.packed:
                self._place_linear(place, name)
        shared = set(self.keys.direct) & set(self.model.all_tied_weights_keys.values())
        for place in sorted(shared):
            if self.keys.direct[place] in self.packed:  # one layer under several names
                raise self._no_place(self.keys.direct[place])
        experts: dict[str, Leaves] = {}
        for place, parts in self.keys.fused.items():
            count = sum(name in self.packed for name, _ in parts)
            if count == len(parts) and not place.endswith(".weight"):
                parent, _, leaf = place.rpartition(".")
                experts.setdefault(parent, {})[leaf] = parts
            elif count:
                raise self._no_place(parts[0][0])
        for parent, leaves in experts.items():
            self._place_experts(parent, leaves)
        return self.placement

    def _place_linear(self, place: str, name: str) -> None:
        module_name = place.removesuffix(".weight")
        old = self.model.get_submodule(module_name)
        with torch.device("cpu"):  # transformers has meta as the default here, and this tries the layer out
            kind = linear_form(old) if place.endswith(".weight") else None
        if kind is None:  # the model's own code multiplies with it in another way
            raise self._no_place(name)
        stored = self._form(self.packed[name], single=True)
        expected = tuple(old.weight.shape) if kind == "linear" else tuple(old.weight.shape)[::-1]
        if stored.shape != expected:
            raise OperatorError(
                f"The matrix {name} is {list(stored.shape)}, but the config asks for {list(expected)}.",
                "Check that config.json belongs to these weights.",
            )
        self.model.set_submodule(module_name, TransformersLinear(stored, old.bias, old.weight.dtype))

    def _place_experts(self, parent: str, leaves: Leaves) -> None:
        old = self.model.get_submodule(parent)
        found = {leaf: expert_positions(leaf, parts, self.keys.rules) for leaf, parts in leaves.items()}
        rising, falling = found.get("gate_up_proj") or found.get("up_proj"), found.get("down_proj")
        gate = gate_of(old)
        joined = rising is not None and (len(rising) == 1 or getattr(old, "is_concatenated", True))
        if rising is None or falling is None or len(falling) != 1 or gate is None or not joined:
            raise self._no_place(f"{parent} ({type(old).__name__})")
        patterns = dict(part for parts in leaves.values() for part in parts)
        forms: dict[str, MatrixForm] = {}
        for names in (*rising, *falling):
            stored = self.packed[names[0]]
            if [module + ".weight" for module in stored.modules] != names or len(names) != old.num_experts:
                raise OperatorError(
                    f"{parent} has {old.num_experts} experts, but {len(stored.modules)} are stored.",
                    "Quantize the model again.",
                )
            forms[_kind(names[0])] = self._form(stored, single=False)
            self._add_stack(names[0], patterns[names[0]])
        experts = TransformersExperts(
            forms,
            rising=[_kind(names[0]) for names in rising],
            falling=_kind(falling[0][0]),
            old=old,
            apply_gate=gate,
            dtype=old.down_proj.dtype,
        )
        self.model.set_submodule(parent, experts)

    def _add_stack(self, name: str, pattern: str) -> None:
        """The rule that joins the experts whose first is called `name`."""
        rule = self.keys.rules.get(pattern)
        if rule is None:  # experts cut out of a fused tensor, named by us
            self.placement.add(f"experts.*.{_kind(name)}.weight", f"experts.{_kind(name)}")
            return
        source = rule._original_source_patterns[rule.source_patterns.index(pattern)].removesuffix("$")
        target = rule._original_target_patterns[0].removesuffix("$")
        if not source.endswith(".weight") or len(rule._original_target_patterns) > 1:
            raise self._no_place(name)
        scope = (rule.scope_prefix, rule.base_model_prefix)
        self.placement.add(source, f"{target.rpartition('.')[0]}.{_kind(name)}", scope)

    def _form(self, matrix: StoredMatrix, *, single: bool) -> MatrixForm:
        """What is stored of a matrix; `single`: of one expert of a stack."""
        dtype = SCALE_DTYPES[self.infos[matrix.modules[0] + SCALE].dtype]
        return MatrixForm(matrix.shape[-2:] if single else matrix.shape, matrix.scheme, dtype)

    def _no_place(self, name: str) -> OperatorError:
        return OperatorError(
            f"transformers' {type(self.model).__name__} has no packed form of {name}.", RUN_IT_HERE
        )


def _kind(name: str) -> str:
    """`….experts.3.gate_proj.weight` → `gate_proj`."""
    return name.removesuffix(".weight").rpartition(".")[2]
