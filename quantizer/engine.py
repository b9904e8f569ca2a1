"""The quantize job: a plan and a 16-bit model in, a checkpoint under its final name out.

Memory is bounded by a few blocks of rows, whatever the model's size. A run that is killed goes on from its
journal and ends with the same bytes.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
import torch

from fqconsole import __version__
from fqconsole.errors import OperatorError
from fqconsole.models.description import ModelDescription
from quantizer.analysis import analyse, require_matrices, source_folder
from quantizer.channels import Channels
from quantizer.checkpoint import PartialFolder, claim_folder, require_free, require_space
from quantizer.config import (
    CONFIG,
    INDEX,
    companion_files,
    config_bytes,
    engine_refusals,
    index_bytes,
    read_config,
    transformers_refusals,
)
from quantizer.device import (
    AllocatedBytes,
    one_thread_a_block,
    reader_count,
    resolve_devices,
    tasks_under_way,
    unit_weights,
    workers_of,
)
from quantizer.disk import write_file
from quantizer.forecast import Forecast
from quantizer.journal import Journal, JournalHead, source_states
from quantizer.manifest import MANIFEST, SourceFile, build_manifest, manifest_bytes
from quantizer.parts import PART_BYTES, Part, plan_parts
from quantizer.pipeline import Pipeline
from quantizer.plan import Plan, model_bits_per_weight, plan_bits_per_weight
from quantizer.preparing import prepare_kernels
from quantizer.shards import ShardWriter
from quantizer.source import file_sha256
from quantizer.source_hashes import SourceHashes
from quantizer.streaming import (
    Assembly,
    Event,
    PartDone,
    StepDone,
    Streaming,
    bytes_by_kind,
    item_name,
    kind_of,
)
from quantizer.tally import Tally
from quantizer.watch import SilentWatch, Watch

__all__ = ["CheckpointSummary", "analyse", "quantize"]

HEADER_BYTES = 256  # upper estimate of one tensor's entry in a header and in the index
FLUSH_EVERY = 256 << 20  # bytes of source between two syncs of a growing file
RECORD_BYTES = 2048  # upper estimate of one matrix's entry in the manifest, config and journal


class CheckpointSummary(msgspec.Struct, frozen=True):
    """A checkpoint that stands under its final name."""

    checkpoint: str
    bytes: int  # safetensors payload, kept tensors included
    source_bytes: int
    bits_per_weight: float  # over the quantized matrices
    model_bits_per_weight: float  # over all weights
    seconds: float


def quantize(
    description: ModelDescription,
    plan: Plan,
    out: Path,
    *,
    device: str = "auto",
    watch: Watch | None = None,
    part_bytes: int = PART_BYTES,
    hashes: SourceHashes | None = None,
) -> CheckpointSummary:
    """Write the checkpoint of `plan` to the new folder `out`, going on where a killed run stopped.

    `hashes` of the source's files may have been begun before.

    Raises UsageError when `out` is taken or the plan belongs to another model, OperatorError when the disk
    is too full or not writable or the source is damaged, DeviceError, and Cancelled from the watch. Finished
    parts then stay beside `out` for a resume; nothing unfinished ever has the final name.
    """
    watch = watch or SilentWatch()
    begun = time.monotonic()
    places = resolve_devices(device)
    folder = source_folder(description)
    require_free(out.expanduser().absolute())
    require_matrices(plan)
    parts = plan_parts(description, plan, part_bytes)
    prepare_kernels(description, plan, places[0], analysing=False)
    config = read_config(folder)
    refusals = engine_refusals(description, plan)
    if refusals:
        watch.log("warning", f"Serving engines will refuse this checkpoint: {'; '.join(refusals[:3])}.")
    unread = transformers_refusals(plan)
    if unread:
        watch.log(
            "warning",
            "transformers alone can't open this checkpoint, fqconsole can (import fqconsole.transformers): "
            f"{'; '.join(unread)}.",
        )
    head = JournalHead(plan, source_states(folder, {part.source_file for part in parts}), __version__)
    with claim_folder(out, plan) as target, _journal(target, head) as journal:
        _verify_finished(target, journal, parts, watch)
        companions = companion_files(folder)
        _check_space(target, parts, journal, companions, len(plan.matrices))
        tally = Tally(plan, parts, watch)
        channels = Channels(folder, description, plan)
        _stream(
            folder, target, parts, plan, channels, journal=journal, tally=tally, devices=places, watch=watch,
            hashes=hashes,
        )  # fmt: skip
        for companion in companions:
            write_file(target.path / companion.name, companion.read_bytes())
        manifest = build_manifest(
            description,
            plan,
            errors=tally.errors,
            shards=[journal.finished[part.file].shard for part in parts],
            source_files=_source_files(journal, parts, head),
            payload_bytes=sum(part.payload for part in parts),
            refusals=refusals,
            made_with={"fqconsole": __version__, "torch": str(torch.__version__)},
        )
        write_file(target.path / MANIFEST, manifest_bytes(manifest))
        if len(parts) > 1:
            write_file(target.path / INDEX, index_bytes(parts))
        watch.checkpoint()
        write_file(target.path / CONFIG, config_bytes(config, plan))
        target.publish()
    return CheckpointSummary(
        checkpoint=str(out.expanduser().absolute()),
        bytes=sum(part.payload for part in parts),
        source_bytes=description.bytes,
        bits_per_weight=plan_bits_per_weight(plan),
        model_bits_per_weight=model_bits_per_weight(plan),
        seconds=time.monotonic() - begun,
    )


@contextmanager
def _journal(target: PartialFolder, head: JournalHead) -> Iterator[Journal]:
    journal = Journal(target.path, head)
    try:
        yield journal
    finally:
        journal.close()


def _verify_finished(target: PartialFolder, journal: Journal, parts: Sequence[Part], watch: Watch) -> None:
    """Checksum what an earlier run finished; a damaged part is made again."""
    found = [journal.finished[part.file] for part in parts if part.file in journal.finished]
    if not found:
        return
    total = sum(record.shard.bytes for record in found)
    watch.phase("hash", total, "B")
    done = 0
    for record in found:
        watch.checkpoint()
        path = target.path / record.shard.file
        if not path.is_file() or file_sha256(path) != record.shard.sha256:
            journal.forget(record.shard.file)
            watch.log("warning", f"{record.shard.file} of the unfinished run is damaged and is made again.")
        done += record.shard.bytes
        watch.progress(done, note=record.shard.file)
    watch.log("info", f"Going on after {len(journal.finished)} of {len(parts)} finished files.")


def _check_space(
    target: PartialFolder, parts: Sequence[Part], journal: Journal, companions: Sequence[Path], matrices: int
) -> None:
    """Raises OperatorError when what is still to be written does not fit on the disk."""
    missing = [part for part in parts if part.file not in journal.finished]
    needed = sum(part.payload + len(part.tensors) * HEADER_BYTES for part in missing)
    entries = sum(len(part.tensors) for part in parts)
    needed += entries * HEADER_BYTES + matrices * RECORD_BYTES
    needed += sum(path.stat().st_size for path in companions)
    require_space(target.path, needed)


def _stream(
    folder: Path,
    target: PartialFolder,
    parts: Sequence[Part],
    plan: Plan,
    channels: Channels,
    *,
    journal: Journal,
    tally: Tally,
    devices: Sequence[torch.device],
    watch: Watch,
    hashes: SourceHashes | None,
) -> None:
    """Write the missing parts: several source files at a time, on all devices."""
    missing = [part for part in parts if part.file not in journal.finished]
    done = sum(part.source_bytes for part in parts if part.file in journal.finished)
    watch.phase("quantize", sum(part.source_bytes for part in parts), "B", done=done)
    for record in journal.finished.values():
        tally.add(record.sums)
    largest = max(math.prod(matrix.shape[-2:]) for matrix in plan.matrices)
    writers = _Writers(target.path)
    streaming = Streaming(
        folder,
        plan,
        channels,
        missing,
        writers.open,
        unit=unit_weights(devices[0], largest),
        pinned=devices[0].type == "cuda",
        hashes=hashes,
    )
    assembly = Assembly(streaming, missing)
    forecast = Forecast(bytes_by_kind(missing))
    workers, allocated = workers_of(devices), AllocatedBytes(devices)
    pipeline = Pipeline(
        streaming.lanes(), workers, readers=reader_count(devices[0]), depth=tasks_under_way(workers)
    )
    try:
        with one_thread_a_block(devices[0]), pipeline:
            try:
                for event in pipeline.results():
                    if not isinstance(event, StepDone):
                        for record in assembly.take_end(event):
                            journal.add(record)
                        continue
                    sums = assembly.take_step(event)
                    if sums is not None:
                        tally.add((sums,))
                    part, item = event.step.part, assembly.item(event.step)
                    if assembly.is_whole(part):
                        pipeline.later(partial(writers.finish, part))
                    elif writers.is_due(part, event.source_bytes):
                        pipeline.later(partial(writers.flush, part))
                    done += event.source_bytes
                    forecast.take(kind_of(item), event.source_bytes)
                    watch.progress(
                        done,
                        note=item_name(item),
                        device_bytes=allocated(),
                        seconds_left=forecast.seconds_left(),
                    )
                    watch.checkpoint()
                    forecast.skip()  # a pause is no work
            except BaseException:
                _keep_whole_parts(pipeline, assembly, writers, journal)
                raise
    finally:
        writers.discard()


class _Writers:
    """The files under construction."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, ShardWriter] = {}
        self._unflushed: Counter[str] = Counter()  # source bytes

    def open(self, part: Part) -> ShardWriter:
        self._open[part.file] = ShardWriter(self._folder, part.file, part.tensors)
        return self._open[part.file]

    def is_due(self, file: str, source_bytes: int) -> bool:
        """Whether enough of a file was worked through since it was flushed; counts `source_bytes` of it."""
        self._unflushed[file] += source_bytes
        if self._unflushed[file] < FLUSH_EVERY:
            return False
        self._unflushed[file] = 0
        return True

    def flush(self, file: str) -> None:
        """Bring what is written of a file to the disk."""
        self._open[file].flush()

    def finish(self, file: str) -> PartDone:
        """Sync, name and checksum a file that is written."""
        return PartDone(self._open[file].finish())

    def discard(self) -> None:
        """Delete what is not finished."""
        for writer in self._open.values():
            writer.discard()


def _keep_whole_parts(
    pipeline: Pipeline[Event], assembly: Assembly, writers: _Writers, journal: Journal
) -> None:
    """Journal the parts that are whole when the pipeline stops, whatever made it stop."""
    with suppress(OperatorError):
        for left in pipeline.stop():
            if not isinstance(left, StepDone):
                end = left
            elif assembly.completes(left):
                end = writers.finish(left.step.part)
            else:
                continue
            for record in assembly.take_end(end):
                journal.add(record)


def _source_files(journal: Journal, parts: Sequence[Part], head: JournalHead) -> list[SourceFile]:
    sizes: Mapping[str, int] = {state.file: state.size for state in head.source}
    return [
        SourceFile(part.source_file, sizes[part.source_file], journal.finished[part.file].source_sha256 or "")
        for part in parts
        if part.ends_source
    ]
