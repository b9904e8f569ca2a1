"""Logits in float32 from a 16-bit head, for measuring.

A head that rounds its logits to bf16 keeps 8 bits: near-equal tokens become ties, a small divergence drowns.
Generating is unaffected, and equals transformers' own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 16384  # of the head at a time: its float32 copy stays small whatever the vocabulary


@contextmanager
def wide_head(model: Any) -> Iterator[None]:
    """While open, a model's head returns float32 `[..., V]`, and what follows it is float32 too."""
    head: Any = model.get_output_embeddings()
    if type(head) is not nn.Linear or head.weight.dtype == torch.float32:
        yield
        return

    def forward(hidden: Tensor) -> Tensor:
        return float32_linear(hidden, head.weight, head.bias)

    head.__dict__["forward"] = forward  # shadows the class's method for this one module
    try:
        yield
    finally:
        del head.__dict__["forward"]


def float32_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b in float32: `x` `[..., K]` and `weight` `[V, K]` in 16 bits, result float32 `[..., V]`."""
    wide = x.float()
    out = torch.cat([wide @ rows.float().mT for rows in weight.split(ROWS)], dim=-1)
    return out if bias is None else out + bias.float()
