"""Layers that are alike are planned once: same names and shapes get the same scheme, so one stands for all.

A model of experts has tens of thousands of tensors and one or two kinds of layer; planning the kinds keeps a
preview within milliseconds. What lies outside the numbered layers is kept as it is.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from fqconsole.models.description import ModelDescription, TensorInfo

NUMBERED = re.compile(r"(.*?)\.(\d+)\.(.*)")

Unit = tuple[str, str]  # what stands before the first number of a tensor's name, and that number


class Alike(NamedTuple):
    """A smaller model with one layer of each kind, and the layers that each of its layers stands for."""

    model: ModelDescription
    members: Mapping[Unit, tuple[int, ...]]

    def layers(self, name: str) -> tuple[int, ...]:
        """The layers that a tensor of the smaller model stands for; empty outside the numbered layers."""
        unit = unit_of(name)
        return () if unit is None else self.members.get(unit, (int(unit[1]),))


def unit_of(name: str) -> Unit | None:
    """`("model.layers", "3")` for `model.layers.3.mlp.up_proj.weight`; None for a name without a number."""
    match = NUMBERED.match(name)
    return None if match is None else (match[1], match[2])


def one_of_each(model: ModelDescription) -> Alike:
    """Keep the first of the layers that have the same tensors by name, shape and dtype."""
    units: dict[Unit, list[TensorInfo]] = defaultdict(list)
    shapes: dict[Unit, list[tuple[str, tuple[int, ...], str]]] = defaultdict(list)
    kept: list[TensorInfo] = []
    match = NUMBERED.match
    for tensor in model.tensors:
        found = match(tensor.name)
        if found is None:
            kept.append(tensor)
            continue
        unit = (found[1], found[2])
        units[unit].append(tensor)
        shapes[unit].append((found[3], tensor.shape, tensor.dtype))
    classes: dict[tuple[str, frozenset[tuple[str, tuple[int, ...], str]]], Unit] = {}
    members: dict[Unit, list[int]] = defaultdict(list)
    for unit, held in shapes.items():
        first = classes.setdefault((unit[0], frozenset(held)), unit)
        members[first].append(int(unit[1]))
    for unit in members:
        kept.extend(units[unit])
    return Alike(
        msgspec.structs.replace(model, tensors=tuple(kept)),
        {unit: tuple(layers) for unit, layers in members.items()},
    )
