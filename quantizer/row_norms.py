"""How large the outputs of matrices' rows are: one pass over the matrices whose rows feed others."""

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from quantizer.device import (
    block_rows,
    one_thread_a_block,
    reader_count,
    tasks_under_way,
    unit_weights,
    workers_of,
)
from quantizer.parts import Piece
from quantizer.pipeline import Pipeline, Task
from quantizer.source import TensorFile

Key = tuple[str, int, int]  # matrix, piece of it, first row
GAINS_KEPT = 16  # on a device: of each file under way one or two


def row_norms(
    folder: Path,
    pieces: Mapping[str, Sequence[Piece]],
    gains: Mapping[str, Tensor],
    devices: Sequence[torch.device],
    tell: Callable[[str, int], None],
) -> dict[str, Tensor]:
    """Norms, float32 `[N]` on the CPU, of the rows of each matrix: of its pieces one after the other.

    Columns are multiplied by the matrix' entry in `gains`, float32 `[K]`, where it has one. `tell` hears the
    matrix and how many of its weights are done, in this thread. Raises OperatorError for damaged files,
    DeviceError, and what `tell` raises.
    """
    if not pieces:
        return {}
    by_file: dict[str, list[tuple[str, int, Piece]]] = defaultdict(list)
    for name, held in pieces.items():
        for index, piece in enumerate(held):
            by_file[piece.tensor.file].append((name, index, piece))
    unit = unit_weights(devices[0], max(piece.rows * piece.k for held in pieces.values() for piece in held))

    @lru_cache(GAINS_KEPT)
    def gain_on(matrix: str, device: torch.device) -> Tensor | None:
        return gains[matrix].to(device) if matrix in gains else None

    def task(key: Key, rows: Tensor, device: torch.device) -> tuple[Key, int, Tensor]:
        gain = gain_on(key[0], device)
        return key, rows.numel(), _norms(rows.to(device, non_blocking=True), gain).cpu()

    def lane(file: str) -> Generator[Task[tuple[Key, int, Tensor]], None, None]:
        with TensorFile(folder / file, pinned=devices[0].type == "cuda") as opened:
            for name, index, piece in by_file[file]:
                step = max(1, unit // piece.k)
                for first in range(0, piece.rows, step):
                    rows = opened.piece_rows(piece, first, min(step, piece.rows - first))
                    yield partial(task, (name, index, first), rows)

    found: dict[str, dict[Key, Tensor]] = defaultdict(dict)
    workers = workers_of(devices)
    lanes = [partial(lane, file) for file in by_file]
    pipeline = Pipeline(lanes, workers, readers=reader_count(devices[0]), depth=tasks_under_way(workers))
    with one_thread_a_block(devices[0]), pipeline:
        for key, weights, norms in pipeline.results():
            found[key[0]][key] = norms
            tell(key[0], weights)
    return {name: torch.cat([found[name][key] for key in sorted(found[name])]) for name in pieces}


def _norms(rows: Tensor, gain: Tensor | None) -> Tensor:
    """float32 `[n]` of rows `[n, K]`, a few at a time."""
    found = []
    for block in torch.split(rows, block_rows(rows.device, rows.shape[1])):
        wide = block.float() if gain is None else block.float() * gain
        found.append(torch.linalg.vector_norm(wide, dim=1))
    return torch.cat(found)
