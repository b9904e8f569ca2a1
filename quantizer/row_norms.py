"""How large the outputs of matrices' rows are: one pass over the matrices whose rows feed others."""

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from quantizer.device import block_rows, unit_weights
from quantizer.parts import Piece
from quantizer.pipeline import Lane, Task
from quantizer.source import TensorFile

GAINS_KEPT = 16  # on a device: of each file under way one or two


@dataclass(frozen=True)
class Normed:
    """Norms, float32 `[n]`, of some rows of a piece of a matrix."""

    matrix: str
    piece: int
    first: int
    weights: int
    norms: Tensor


class RowNorms:
    """Lanes that measure rows, and what came of them."""

    def __init__(
        self,
        folder: Path,
        pieces: Mapping[str, Sequence[Piece]],
        gains: Mapping[str, Tensor],
        device: torch.device,
    ) -> None:
        """Of the `pieces` of each matrix, whose columns are multiplied by its entry in `gains`, float32
        `[K]`, where it has one. `device` is one of those that will measure.
        """
        self._folder = folder
        self._pieces = pieces
        self._gains = gains
        self._gain_on = lru_cache(GAINS_KEPT)(self._move)
        self._pinned = device.type == "cuda"
        largest = max((piece.rows * piece.k for held in pieces.values() for piece in held), default=0)
        self._unit = unit_weights(device, largest)
        self._done: dict[str, list[Normed]] = defaultdict(list)

    def lanes(self) -> list[Lane[Normed]]:
        """One a file. Running them raises OperatorError for damaged files."""
        by_file: dict[str, list[tuple[str, int, Piece]]] = defaultdict(list)
        for name, held in self._pieces.items():
            for index, piece in enumerate(held):
                by_file[piece.tensor.file].append((name, index, piece))
        return [partial(self._lane, file, held) for file, held in by_file.items()]

    def take(self, done: Normed) -> None:
        """Keep what a lane's task gave."""
        self._done[done.matrix].append(done)

    def found(self) -> dict[str, Tensor]:
        """Norms, float32 `[N]` on the CPU, of all rows of each matrix: of its pieces one after the other."""
        return {
            name: torch.cat([done.norms for done in sorted(held, key=lambda done: (done.piece, done.first))])
            for name, held in self._done.items()
        }

    def _lane(
        self, file: str, pieces: Sequence[tuple[str, int, Piece]]
    ) -> Generator[Task[Normed], None, None]:
        with TensorFile(self._folder / file, pinned=self._pinned) as opened:
            for name, index, piece in pieces:
                step = max(1, self._unit // piece.k)
                for first in range(0, piece.rows, step):
                    rows = opened.piece_rows(piece, first, min(step, piece.rows - first))
                    yield partial(self._measure, name, index, first, rows)

    def _measure(self, matrix: str, piece: int, first: int, rows: Tensor, device: torch.device) -> Normed:
        norms = _norms(rows.to(device, non_blocking=True), self._gain_on(matrix, device)).cpu()
        return Normed(matrix, piece, first, rows.numel(), norms)

    def _move(self, matrix: str, device: torch.device) -> Tensor | None:
        return self._gains[matrix].to(device) if matrix in self._gains else None


def _norms(rows: Tensor, gain: Tensor | None) -> Tensor:
    """float32 `[n]` of rows `[n, K]`, a few at a time."""
    found = []
    for block in torch.split(rows, block_rows(rows.device, rows.shape[1])):
        wide = block.float() if gain is None else block.float() * gain
        found.append(torch.linalg.vector_norm(wide, dim=1))
    return torch.cat(found)
