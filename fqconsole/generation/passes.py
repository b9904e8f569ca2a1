"""Which tokens go through the decoder at once, and where in their texts they stand."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fqconsole.generation.rotary import Rotary


@dataclass(frozen=True)
class Chunk:
    """Neighbouring tokens of one text: positions first … first + count - 1 of sequence `row`."""

    row: int
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class Pass:
    """`positions` int64 `[T]`, on the device; either of whole chunks one after the other, or a decode step.

    Chunks: `rows` int64 `[T]` the sequence of each token. Step: the newest token of sequences 0 … T - 1,
    `lengths` int32 `[T]` their tokens with the newest.
    """

    positions: Tensor
    rotary: Rotary
    chunks: tuple[Chunk, ...] = ()
    rows: Tensor | None = None
    lengths: Tensor | None = None

    @classmethod
    def of_chunks(cls, chunks: tuple[Chunk, ...], rotary: Rotary, device: torch.device) -> Self:
        """The tokens of prompts, or of pieces of them."""
        positions = [torch.arange(chunk.first, chunk.first + chunk.count, device=device) for chunk in chunks]
        rows = [torch.full((chunk.count,), chunk.row, device=device) for chunk in chunks]
        if len(chunks) == 1:
            return cls(positions[0], rotary, chunks, rows[0])
        return cls(torch.cat(positions), rotary, chunks, torch.cat(rows))

    @classmethod
    def of_step(cls, positions: Tensor, rotary: Rotary) -> Self:
        """One token of each sequence, at `positions` int64 `[B]`."""
        return cls(positions, rotary, lengths=(positions + 1).to(torch.int32))
