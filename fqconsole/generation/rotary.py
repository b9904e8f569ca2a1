"""Tables of rotary angles by position, from the frequencies that transformers computed for the model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Table:
    """cos and sin float32 `[context, R / 2]`, the scaling of long contexts in them."""

    cos: Tensor
    sin: Tensor


class Rotary:
    """The tables of one model, one for each kind of layer that has frequencies of its own.

    Some models (Phi-3 for 128k) have frequencies for short texts and others for long ones: `fit` puts the
    right ones in place, so that what was captured with these tensors stays valid.
    """

    def __init__(self, module: Any, context: int, device: torch.device) -> None:
        """`module`: transformers' rotary embedding of the model; None where it has learned positions."""
        self._tables: dict[str, Table] = {}
        self._spare: dict[str, Table] = {}
        self._limit: int | None = None
        self._long = False
        if module is None:
            return
        for word in _kinds(module):
            # What transformers' own forward left behind may be the frequencies of its last long text.
            frequencies = getattr(module, f"{word}original_inv_freq", getattr(module, f"{word}inv_freq"))
            scaling = float(getattr(module, f"{word}attention_scaling"))
            self._tables[word.rstrip("_")] = _table(frequencies, scaling, context, device)
        if getattr(module, "rope_type", None) == "longrope":
            self._prepare_long(module, context, device)

    def table(self, kind: str) -> Table:
        """The angles of a layer of this kind."""
        return self._tables[kind] if kind in self._tables else self._tables[""]

    def fit(self, length: int) -> None:
        """Use the frequencies for a text of so many tokens, from now on."""
        if self._limit is None or (length > self._limit) == self._long:
            return
        self._long = not self._long
        for kind, table in self._tables.items():
            spare = self._spare[kind]
            for mine, other in ((table.cos, spare.cos), (table.sin, spare.sin)):
                held = mine.clone()
                mine.copy_(other)
                other.copy_(held)

    def _prepare_long(self, module: Any, context: int, device: torch.device) -> None:
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        stated = module.config.rope_parameters
        limit = int(stated["original_max_position_embeddings"])
        if context <= limit:
            return
        frequencies, _ = ROPE_INIT_FUNCTIONS["longrope"](module.config, device, seq_len=limit + 1)
        self._limit = limit
        self._spare[""] = _table(frequencies, float(module.attention_scaling), context, device)


def _kinds(module: Any) -> list[str]:
    """The prefixes of the frequencies' names: "" alone, or one for each kind of layer (Gemma 3)."""
    names = [name.removesuffix("inv_freq") for name, _ in module.named_buffers() if name.endswith("inv_freq")]
    return [name for name in names if not name.endswith("original_")]


def _table(frequencies: Tensor, scaling: float, context: int, device: torch.device) -> Table:
    positions = torch.arange(context, device=device, dtype=torch.float32)
    angles = positions[:, None] * frequencies.to(device=device, dtype=torch.float32)[None, :]
    return Table(angles.cos() * scaling, angles.sin() * scaling)
