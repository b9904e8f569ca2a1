"""Packed matrices that meet the same input, put together at load: one product instead of several."""

from collections.abc import Mapping
from typing import Any

import torch

from fqconsole.generation.modules import linear_form
from kernels import PackedMatrix
from quantizer.reader import StoredMatrix

MATRIX_DIMS = 2


def sets_to_join(
    model: Any,
    direct: Mapping[str, str],
    packed: Mapping[str, StoredMatrix],
    joined: tuple[tuple[str, ...], ...],
) -> list[tuple[str, ...]]:
    """Sets of places whose matrices share a scheme and a kind of product.

    `direct`: place of a parameter → tensor name; `packed`: tensor name → matrix; `joined`: names of sibling
    modules that meet the same input.
    """
    found = []
    for place in direct:
        parent, _, leaf = place.removesuffix(".weight").rpartition(".")
        for names in joined:
            places = tuple(f"{parent}.{name}.weight" for name in names)
            if leaf == names[0] and _agree(
                model, [packed.get(direct.get(each, "")) for each in places], places
            ):
                found.append(places)
    return found


def _agree(model: Any, matrices: list[StoredMatrix | None], places: tuple[str, ...]) -> bool:
    whole = [matrix for matrix in matrices if matrix is not None and len(matrix.shape) == MATRIX_DIMS]
    schemes = {(matrix.scheme.bits, matrix.scheme.group_size, matrix.shape[1]) for matrix in whole}
    if len(whole) < len(matrices) or len(schemes) != 1:
        return False
    return all(
        linear_form(model.get_submodule(place.removesuffix(".weight"))) == "linear" for place in places
    )


def join_rows(stacks: list[PackedMatrix]) -> tuple[PackedMatrix, ...]:
    """Matrices, or stacks of gate and up, as one where they share a scheme: one kernel instead of several."""
    first = stacks[0]
    if len(stacks) == 1 or any(
        (s.bits, s.group_size, s.k, s.scales.dtype)
        != (first.bits, first.group_size, first.k, first.scales.dtype)
        for s in stacks
    ):
        return tuple(stacks)
    return (
        PackedMatrix(
            codes=torch.cat([s.codes for s in stacks], dim=-2),
            scales=torch.cat([s.scales for s in stacks], dim=-2),
            bits=first.bits,
            group_size=first.group_size,
            k=first.k,
        ),
    )
