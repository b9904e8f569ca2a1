"""Is a checkpoint still what its manifest says, and does it follow from its source? Nothing is written.

Every safetensors file is checksummed. Then matrices and kept tensors are made again from the source, by the
code that made them, and compared byte by byte with what is stored: a few chosen at random, or all.
"""

import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import torch

from fqconsole import __version__
from fqconsole.errors import OperatorError, UsageError
from fqconsole.models.describe import describe_folder
from fqconsole.models.description import TensorInfo
from fqconsole.models.weight_files import read_tensors
from quantizer.channels import Channels
from quantizer.config import quantization_config, read_config
from quantizer.device import (
    AllocatedBytes,
    one_thread_a_block,
    reader_count,
    resolve_devices,
    tasks_under_way,
    unit_weights,
    workers_of,
)
from quantizer.journal import WrittenShard
from quantizer.manifest import Manifest, read_manifest
from quantizer.parts import Part, Piece, plan_parts
from quantizer.pipeline import Pipeline, Task
from quantizer.reader import open_checkpoint
from quantizer.source import Bytes, TensorFile, file_sha256
from quantizer.streaming import SourceDone, StepDone, Streaming, item_name
from quantizer.verdict import Fault, SourceState, Verification
from quantizer.watch import SilentWatch, Watch

SAMPLE_MATRICES = 12
SAMPLE_KEPT = 4


def verify(
    folder: Path,
    *,
    every: bool = False,
    source: Path | None = None,
    device: str = "auto",
    seed: int | None = None,
    watch: Watch | None = None,
) -> Verification:
    """Check a checkpoint; what is wrong with it is returned and not raised.

    `every`: make all matrices again and checksum the source, instead of a sample chosen by `seed`; `source`:
    where the 16-bit model lies now. Raises UsageError for a folder without a manifest, and for `every` or
    `source` without a source to read; DeviceError; Cancelled from the watch.
    """
    watch = watch or SilentWatch()
    begun = time.monotonic()
    folder = folder.expanduser().absolute()
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder} has no manifest of fqconsole.", "Name a checkpoint that fqconsole wrote.")
    origin = _find_source(manifest, source, required=every or source is not None)
    faults = [*_check_shards(folder, manifest, watch), *_check_config(folder, manifest)]
    remade: Sequence[str] = ()
    state: SourceState = "absent"
    if not any(fault.kind == "damaged" for fault in faults):
        faults += _check_structure(folder)
    if origin is not None and not faults:
        changed = _changed_sizes(origin, manifest)
        state = "changed" if changed else "unchanged"
        faults += changed
        if not changed:
            compared, remade = _remake(
                folder, origin, manifest, every=every, device=device, seed=seed, watch=watch
            )
            faults += compared
            if any(fault.kind == "source" for fault in compared):
                state = "changed"
    return Verification(
        checkpoint=str(folder),
        sound=not faults,
        files=len(manifest.shards),
        bytes=sum(shard.bytes for shard in manifest.shards),
        matrices=sum(_pieces_of(matrix.shape) for matrix in manifest.plan.matrices),
        remade=tuple(remade),
        source=state,
        source_path=str(origin) if origin is not None else manifest.source.path,
        faults=tuple(faults),
        seconds=time.monotonic() - begun,
    )


class Comparison:
    """A sink that compares what is made with what is stored; several threads may write to it."""

    def __init__(self, folder: Path, stored: Mapping[str, TensorInfo]) -> None:
        self._folder = folder
        self._stored = stored
        self._files: dict[str, TensorFile] = {}
        self._guard = threading.Lock()
        self.differing: set[str] = set()

    def write(self, tensor: str, data: Bytes, offset: int = 0) -> None:
        """Compare bytes of one tensor from `offset` in it."""
        info = self._stored.get(tensor)
        if info is None or offset + len(data) > info.bytes:
            same = False
        else:
            same = data.tobytes() == self._file(info.file).read(info.start + offset, len(data)).tobytes()
        if not same:
            with self._guard:
                self.differing.add(tensor)

    def close(self) -> None:
        for opened in self._files.values():
            opened.close()

    def _file(self, name: str) -> TensorFile:
        with self._guard:
            if name not in self._files:
                self._files[name] = TensorFile(self._folder / name)
            return self._files[name]


def _find_source(manifest: Manifest, given: Path | None, *, required: bool) -> Path | None:
    place = given or (Path(manifest.source.path) if manifest.source.path else None)
    if place is not None and place.expanduser().is_dir():
        return place.expanduser().absolute()
    if required:
        raise UsageError(
            f"The 16-bit model of this checkpoint is not at {place}.", "Say where it is with --source DIR."
        )
    return None


def _check_shards(folder: Path, manifest: Manifest, watch: Watch) -> list[Fault]:
    """Size and sha256 of every file, several files at a time."""
    watch.phase("checksum", sum(shard.bytes for shard in manifest.shards), "B")
    cpu = workers_of((torch.device("cpu"),))

    def lane() -> Generator[Task[tuple[WrittenShard, Fault | None]], None, None]:
        for shard in manifest.shards:
            yield partial(_check_shard, folder, shard)

    faults = []
    done = 0
    with Pipeline([lane], cpu, readers=1, depth=len(cpu)) as pipeline:
        for shard, fault in pipeline.results():
            done += shard.bytes
            watch.progress(done, note=shard.file)
            watch.checkpoint()
            if fault is not None:
                faults.append(fault)
    known = {shard.file for shard in manifest.shards}
    strange = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in known)
    faults += [Fault("damaged", name, "is not in the manifest") for name in strange]
    return sorted(faults, key=lambda fault: fault.name)


def _check_shard(folder: Path, shard: WrittenShard, _: torch.device) -> tuple[WrittenShard, Fault | None]:
    path = folder / shard.file
    if not path.is_file():
        return shard, Fault("damaged", shard.file, "is missing")
    size = path.stat().st_size
    if size != shard.bytes:
        return shard, Fault("damaged", shard.file, f"has {size} bytes and not {shard.bytes}")
    try:
        same = file_sha256(path) == shard.sha256
    except OperatorError as failure:
        return shard, Fault("damaged", shard.file, failure.what)
    return shard, None if same else Fault("damaged", shard.file, "has another checksum")


def _check_config(folder: Path, manifest: Manifest) -> list[Fault]:
    try:
        stored = read_config(folder).get("quantization_config")
    except OperatorError as failure:
        return [Fault("damaged", "config.json", failure.what)]
    if stored != quantization_config(manifest.plan):
        return [Fault("damaged", "config.json", "has another quantization_config than the plan")]
    return []


def _check_structure(folder: Path) -> list[Fault]:
    try:
        open_checkpoint(folder).close()
    except OperatorError as failure:
        return [Fault("damaged", folder.name, failure.what)]
    return []


def _changed_sizes(origin: Path, manifest: Manifest) -> list[Fault]:
    faults = []
    for file in manifest.source.files:
        path = origin / file.file
        if not path.is_file():
            faults.append(Fault("source", file.file, f"is missing in {origin}"))
        elif path.stat().st_size != file.bytes:
            faults.append(Fault("source", file.file, "has another size than when it was quantized"))
    return faults


def _remake(
    folder: Path,
    origin: Path,
    manifest: Manifest,
    *,
    every: bool,
    device: str,
    seed: int | None,
    watch: Watch,
) -> tuple[list[Fault], list[str]]:
    """Make pieces again and compare; (faults, names of what was made)."""
    plan, devices = manifest.plan, resolve_devices(device)
    try:
        description = describe_folder(origin, id=plan.model, source="folder")
        parts = plan_parts(description, plan)
    except OperatorError as failure:
        return [Fault("source", origin.name, failure.what)], []
    chosen = parts if every else _sample(parts, seed)
    comparison = Comparison(folder, {info.name: info for info in read_tensors(folder)})
    largest = max(math.prod(matrix.shape[-2:]) for matrix in plan.matrices)
    streaming = Streaming(
        origin,
        plan,
        Channels(origin, description, plan),
        chosen,
        lambda _: comparison,
        unit=unit_weights(devices[0], largest),
        pinned=devices[0].type == "cuda",
        hashed=every,
    )
    workers, allocated = workers_of(devices), AllocatedBytes(devices)
    pipeline = Pipeline(
        streaming.lanes(), workers, readers=reader_count(devices[0]), depth=tasks_under_way(workers)
    )
    watch.phase("remake", sum(part.source_bytes for part in chosen), "B")
    items = {part.file: part.items for part in chosen}
    known = {file.file: file.sha256 for file in manifest.source.files}
    faults: list[Fault] = []
    done = 0
    try:
        with one_thread_a_block(devices[0]), pipeline:
            for event in pipeline.results():
                if isinstance(event, SourceDone) and event.sha256 != known.get(event.file):
                    faults.append(_changed(event.file))
                if isinstance(event, StepDone):
                    done += event.source_bytes
                    name = item_name(items[event.step.part][event.step.item])
                    watch.progress(done, note=name, device_bytes=allocated())
                    watch.checkpoint()
    finally:
        comparison.close()
    names = [item_name(item) for part in chosen for item in part.items]
    return faults + _differences(comparison, manifest, origin, faults, chosen), names


def _sample(parts: Sequence[Part], seed: int | None) -> list[Part]:
    """The parts with a few of their items, chosen at random."""
    chance = random.Random(seed)  # noqa: S311 -- a sample, no secret
    places: dict[bool, list[tuple[int, int]]] = defaultdict(list)
    for number, part in enumerate(parts):
        for index, item in enumerate(part.items):
            places[isinstance(item, Piece)].append((number, index))
    chosen: set[tuple[int, int]] = set()
    for is_piece, count in ((True, SAMPLE_MATRICES), (False, SAMPLE_KEPT)):
        chosen.update(chance.sample(places[is_piece], min(count, len(places[is_piece]))))
    sampled = []
    for number, part in enumerate(parts):
        items = tuple(item for index, item in enumerate(part.items) if (number, index) in chosen)
        if items:
            sampled.append(msgspec.structs.replace(part, items=items))
    return sampled


def _differences(
    comparison: Comparison, manifest: Manifest, origin: Path, found: Sequence[Fault], parts: Sequence[Part]
) -> list[Fault]:
    """A fault for each matrix or tensor that differs, and first for each source file that explains it."""
    changed = {fault.name for fault in found}
    known = {file.file: file.sha256 for file in manifest.source.files}
    maker = manifest.made_with.get("fqconsole", "another version")
    by_version = "" if maker == __version__ else f" (made by fqconsole {maker}, this is {__version__})"
    sources: dict[str, Fault] = {}
    differing = []
    for part in parts:
        names = [item_name(item) for item in part.items if _tensors(item) & comparison.differing]
        if names and part.source_file not in changed:
            changed.add(part.source_file)
            if file_sha256(origin / part.source_file) != known.get(part.source_file):
                sources[part.source_file] = _changed(part.source_file)
        what = f"is not what its source gives{by_version}"
        differing += [Fault("differs", name, what) for name in names]
    return [*sources.values(), *differing]


def _tensors(item: Piece | TensorInfo) -> set[str]:
    if isinstance(item, TensorInfo):
        return {item.name}
    return {f"{item.module}.{end}" for end in ("weight_packed", "weight_scale", "weight_shape")}


def _changed(file: str) -> Fault:
    return Fault("source", file, "changed since it was quantized")


def _pieces_of(shape: tuple[int, ...]) -> int:
    return math.prod(shape[:-2])
