"""Experts that lie one by one in a checkpoint become one stack in the model; saving parts them."""

from typing import Any

import torch
from torch import Tensor
from transformers.core_model_loading import ConversionOps


class StackExperts(ConversionOps):
    """One tensor per expert → `[E, ...]`. A rule of its own, because transformers 5.17's splits too much."""

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **context: Any,
    ) -> dict[str, Tensor]:
        (parts,) = input_dict.values()
        return {target_patterns[0]: torch.stack(parts)}

    @property
    def reverse_op(self) -> ConversionOps:
        return UnstackExperts()


class UnstackExperts(ConversionOps):
    """`[E, ...]` → one tensor per expert, whose number stands in the place of `*`."""

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **context: Any,
    ) -> dict[str, Tensor]:
        (held,) = input_dict.values()
        stack = held[0] if isinstance(held, list) else held
        return {
            target_patterns[0].replace("*", str(expert)): part.clone() for expert, part in enumerate(stack)
        }

    @property
    def reverse_op(self) -> ConversionOps:
        return StackExperts()
