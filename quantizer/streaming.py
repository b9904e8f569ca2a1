"""The lanes that make a checkpoint's tensors: blocks of the source in, packed codes and scales out."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fqconsole.models.description import TensorInfo
from quantizer.blocks import quantize_rows
from quantizer.channels import Channels
from quantizer.journal import MatrixSums, PartRecord, WrittenShard
from quantizer.parts import Part, Piece, item_source_bytes
from quantizer.pipeline import Lane, Task
from quantizer.plan import Plan
from quantizer.source import READ_BLOCK, Bytes, TensorFile, as_bytes
from quantizer.source_hashes import SourceHashes


@dataclass(frozen=True)
class Step:
    """Some rows of a piece, or some bytes of a kept tensor."""

    part: str  # file
    item: int  # of the part's items
    first: int  # row or byte
    count: int


@dataclass(frozen=True)
class StepDone:
    """A step is written."""

    step: Step
    source_bytes: int
    squared_error: float = 0.0
    squared_norm: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class PartDone:
    """A part is on disk under its name."""

    shard: WrittenShard


@dataclass(frozen=True)
class SourceDone:
    """A source file was read to its end."""

    file: str
    sha256: str


Event = StepDone | PartDone | SourceDone


class Sink(Protocol):
    """Where the tensors of one part go."""

    def write(self, tensor: str, data: Bytes, offset: int = 0) -> None:
        """Bytes of a tensor of the output from `offset` in it; called by several threads."""


class Streaming:
    """Hands out the lanes, one per source file, that make the tensors of all parts."""

    def __init__(
        self,
        source: Path,
        plan: Plan,
        channels: Channels,
        parts: Sequence[Part],
        open_sink: Callable[[Part], Sink],
        *,
        unit: int,
        pinned: bool,
        hashed: bool = True,
        hashes: SourceHashes | None = None,
    ) -> None:
        """`unit`: the weights that are handed over at a time; `hashed`: tell the sha256 of each source file
        whose last part is among `parts`; `hashes`: those that were begun before.
        """
        self._source = source
        self._plan = plan
        self._channels = channels
        self._parts = parts
        self._open_sink = open_sink
        self._unit = unit
        self._pinned = pinned
        self._hashed = hashed
        self._hashes = hashes

    def lanes(self) -> list[Lane[Event]]:
        """One lane per source file; running it opens the file and its parts.

        Files with much that is only copied come first: its price is then known for the forecast, and the
        checksums of what is large when it is written are not waited for at the end.
        """
        by_file = {file: list(parts) for file, parts in groupby(self._parts, key=lambda p: p.source_file)}
        ordered = sorted(by_file, key=lambda file: -bytes_by_kind(by_file[file]).get("kept", 0))
        return [partial(self._lane, file, by_file[file]) for file in ordered]

    def steps(self, part: Part) -> Iterator[Step]:
        """What is to be done for a part, in the order of the source; at least one step an item."""
        for index, item in enumerate(part.items):
            if isinstance(item, TensorInfo):
                total, size = item.bytes, READ_BLOCK
            else:
                total, size = item.rows, max(1, self._unit // item.k)
            for first in range(0, max(1, total), size):
                yield Step(part.file, index, first, min(size, total - first))

    def _lane(self, file: str, parts: Sequence[Part]) -> Generator[Task[Event], None, None]:
        ends = self._hashed and parts[-1].ends_source
        begun = self._hashes.take(file) if ends and self._hashes is not None else None
        hashed = self._hashed and begun is None
        with TensorFile(self._source / file, hashed=hashed, pinned=self._pinned) as source:
            for part in parts:
                sink = self._open_sink(part)
                for step in self.steps(part):
                    item = part.items[step.item]
                    if isinstance(item, TensorInfo):
                        read = source.read(item.start + step.first, step.count)
                        data = self._channels.rewrite(item.name, read, step.first)
                        yield partial(_copy, step, item, data, sink)
                    else:
                        rows = source.piece_rows(item, step.first, step.count)
                        yield partial(self._quantize, step, item, rows, sink)
            if ends:
                yield partial(_source_done, file, source.sha256() if begun is None else begun())

    def _quantize(self, step: Step, piece: Piece, rows: Tensor, sink: Sink, device: torch.device) -> Event:
        begun = time.perf_counter()
        matrix = self._plan.matrices[piece.matrix]
        block = quantize_rows(
            rows.to(device, non_blocking=True),
            matrix,
            self._plan,
            piece.module,
            columns=self._channels.columns_on(matrix.name, device),
            first_row=step.first,
        )
        packed, scales = as_bytes(block.packed), as_bytes(block.scales)
        seconds = time.perf_counter() - begun
        if step.first == 0:
            shape = np.array([piece.rows, piece.k], dtype=np.int64)
            sink.write(f"{piece.module}.weight_shape", shape.view(np.uint8))
        for end, data in (("weight_packed", packed), ("weight_scale", scales)):
            sink.write(f"{piece.module}.{end}", data, step.first * (len(data) // step.count))
        return StepDone(step, step.count * piece.row_bytes, block.squared_error, block.squared_norm, seconds)


class Assembly:
    """Puts together what comes in any order: steps to sums of pieces, parts and hashes to journal records.

    Sums are exact (`fsum`), so that neither threads nor a resume change the last digit.
    """

    def __init__(self, streaming: Streaming, parts: Sequence[Part]) -> None:
        self._parts = {part.file: part for part in parts}
        self._missing = {part.file: Counter(s.item for s in streaming.steps(part)) for part in parts}
        self._steps: dict[tuple[str, int], list[StepDone]] = defaultdict(list)
        self._sums: dict[str, dict[int, MatrixSums]] = defaultdict(dict)
        self._shards: dict[str, WrittenShard] = {}
        self._hashes: dict[str, str] = {}

    def item(self, step: Step) -> Piece | TensorInfo:
        """The item a step belongs to."""
        return self._parts[step.part].items[step.item]

    def take_step(self, done: StepDone) -> MatrixSums | None:
        """The sums of a piece when this was its last step."""
        part, index = done.step.part, done.step.item
        item = self.item(done.step)
        self._missing[part] -= Counter([index])
        if isinstance(item, TensorInfo):
            return None
        self._steps[part, index].append(done)
        if self._missing[part][index]:
            return None
        steps = self._steps.pop((part, index))
        sums = MatrixSums(
            matrix=item.matrix,
            pieces=1,
            squared_error=math.fsum(step.squared_error for step in steps),
            squared_norm=math.fsum(step.squared_norm for step in steps),
            seconds=sum(step.seconds for step in steps),
        )
        self._sums[part][index] = sums
        return sums

    def is_whole(self, part: str) -> bool:
        """Whether every step of a part is done."""
        return not self._missing[part]

    def completes(self, done: StepDone) -> bool:
        """Take a step whose sums nobody is told; whether its part is whole with it."""
        self.take_step(done)
        return self.is_whole(done.step.part)

    def take_end(self, done: PartDone | SourceDone) -> list[PartRecord]:
        """The records of the parts of which everything is known by now."""
        if isinstance(done, PartDone):
            self._shards[done.shard.file] = done.shard
        else:
            self._hashes[done.file] = done.sha256
        records = []
        for file, shard in list(self._shards.items()):
            part = self._parts[file]
            if part.ends_source and part.source_file not in self._hashes:
                continue
            del self._shards[file]
            sums = tuple(self._sums[file][index] for index in sorted(self._sums[file]))
            source_sha256 = self._hashes[part.source_file] if part.ends_source else None
            records.append(PartRecord(shard, sums, source_sha256))
        return records


def kind_of(item: Piece | TensorInfo) -> str:
    """What makes the bytes of an item dear or cheap."""
    return "kept" if isinstance(item, TensorInfo) else "matrix"


def bytes_by_kind(parts: Sequence[Part]) -> dict[str, int]:
    """Source bytes of all items of each kind."""
    found: Counter[str] = Counter()
    for part in parts:
        for item in part.items:
            found[kind_of(item)] += item_source_bytes(item)
    return dict(found)


def item_name(item: Piece | TensorInfo) -> str:
    """The name to show while an item is worked on."""
    return item.name if isinstance(item, TensorInfo) else item.module


def _copy(step: Step, tensor: TensorInfo, data: Bytes, sink: Sink, _: torch.device) -> Event:
    """A kept tensor goes over as its bytes."""
    sink.write(tensor.name, data, step.first)
    return StepDone(step, len(data))


def _source_done(file: str, sha256: str, _: torch.device) -> Event:
    return SourceDone(file, sha256)
