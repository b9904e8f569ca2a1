"""One pass over the rows of every matrix of a plan: read, prepared and looked at on all devices, whatever is
to be learned from them. Memory is bounded by a few blocks of rows.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from fqconsole.models.description import ModelDescription
from quantizer.device import (
    AllocatedBytes,
    one_thread_a_block,
    reader_count,
    tasks_under_way,
    unit_weights,
    workers_of,
)
from quantizer.parts import Piece, plan_parts
from quantizer.pipeline import Pipeline, Task
from quantizer.plan import Plan
from quantizer.source import TensorFile
from quantizer.watch import Watch

Learned = TypeVar("Learned")
Run = tuple[int, int]  # first row, count


@dataclass(frozen=True)
class Seen(Generic[Learned]):
    """What was learned from some rows of a piece."""

    piece: Piece
    first: int
    rows: int
    learned: Learned


def survey(
    folder: Path,
    description: ModelDescription,
    plan: Plan,
    look: Callable[[Piece, int, Tensor, torch.device], Learned],
    *,
    devices: Sequence[torch.device],
    watch: Watch,
    phase: str,
    runs: Callable[[Piece, int], Iterable[Run]] | None = None,
) -> list[tuple[Piece, list[Seen[Learned]]]]:
    """Every piece with what `look(piece, first row, rows [n, K] on the CPU, device)` made of its rows, in
    order.

    `runs(piece, rows at a time)` says which rows are read, all of them by default. Raises OperatorError for
    damaged files, DeviceError, and Cancelled from the watch.
    """
    chosen = runs or every_row
    pieces: dict[str, list[Piece]] = defaultdict(list)
    for part in plan_parts(description, plan):
        pieces[part.source_file] += [item for item in part.items if isinstance(item, Piece)]
    unit = unit_weights(devices[0], max(math.prod(matrix.shape[-2:]) for matrix in plan.matrices))

    def runs_of(piece: Piece) -> list[Run]:
        return list(chosen(piece, max(1, unit // piece.k)))

    total = sum(
        count * piece.row_bytes for held in pieces.values() for piece in held for _, count in runs_of(piece)
    )
    watch.phase(phase, total, "B")
    workers, allocated = workers_of(devices), AllocatedBytes(devices)
    seen: dict[str, list[Seen[Learned]]] = defaultdict(list)
    done = 0

    def task(piece: Piece, first: int, rows: Tensor, device: torch.device) -> Seen[Learned]:
        return Seen(piece, first, len(rows), look(piece, first, rows, device))

    def lane(file: str) -> Generator[Task[Seen[Learned]], None, None]:
        with TensorFile(folder / file, pinned=devices[0].type == "cuda") as opened:
            for piece in pieces[file]:
                for first, count in runs_of(piece):
                    yield partial(task, piece, first, opened.piece_rows(piece, first, count))

    lanes = [partial(lane, file) for file in pieces]
    pipeline = Pipeline(lanes, workers, readers=reader_count(devices[0]), depth=tasks_under_way(workers))
    with one_thread_a_block(devices[0]), pipeline:
        for came in pipeline.results():
            seen[came.piece.module].append(came)
            done += came.rows * came.piece.row_bytes
            watch.progress(done, note=came.piece.module, device_bytes=allocated())
            watch.checkpoint()
    return [
        (piece, sorted(seen[piece.module], key=lambda came: came.first))
        for held in pieces.values()
        for piece in held
    ]


def every_row(piece: Piece, at_a_time: int) -> Iterable[Run]:
    """All rows of a piece, as many at a time as are to be read."""
    for first in range(0, piece.rows, at_a_time):
        yield first, min(at_a_time, piece.rows - first)
