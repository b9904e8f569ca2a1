"""Which safetensors files make up a model, and their tensors checked with the index; local or on the hub."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from fqconsole.errors import MALFORMED
from fqconsole.models.description import TensorInfo
from fqconsole.models.errors import SAFETENSORS_ONLY, ModelError, shown
from fqconsole.models.safetensors_header import read_header

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_INDEX_BYTES = 256 << 20
NUMBERED = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors$")
# Formats that run code when they are opened, or that other programs own.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
OTHERS = {".gguf": "GGUF", ".h5": "HDF5", ".msgpack": "Flax", ".onnx": "ONNX"}
NOT_WEIGHT_NAMES = re.compile(r"^(training_args|optimizer|scheduler|rng_state|scaler)")


def choose_files(names: Collection[str], index: bytes | None, place: str) -> list[str]:
    """The safetensors files of a model, in order, from the names that are there and the index file's content.

    Raises ModelError: shards missing (named), only pickles, another format, nothing, or no telling which.
    """
    weights = sorted(name for name in names if name.endswith(".safetensors") and "/" not in name)
    if index is not None:
        wanted = sorted(set(weight_map(index, place).values()))
        _refuse_missing([name for name in wanted if name not in names], len(wanted), place)
        return wanted
    if SINGLE in weights:
        return [SINGLE]
    if not weights:
        raise ModelError(*no_weights(names, place))
    numbered = [match for match in map(NUMBERED.match, weights) if match is not None]
    if len(numbered) == len(weights) and len({(match["stem"], match["count"]) for match in numbered}) == 1:
        stem, count = numbered[0]["stem"], int(numbered[0]["count"])
        wanted = [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
        _refuse_missing([name for name in wanted if name not in weights], count, place)
        return wanted
    if len(weights) == 1:
        return weights
    raise ModelError(
        f"{place} has {len(weights)} safetensors files and no {INDEX} that says how they belong together.",
        f"Add the index, or keep one model's files ({SINGLE}) in the folder.",
    )


def weight_map(index: bytes, place: str) -> Mapping[str, str]:
    """Tensor name → file name. Raises ModelError when the index is malformed or names a file elsewhere."""
    try:
        decoded: Any = msgspec.json.decode(index)
    except MALFORMED:
        decoded = None
    found = decoded.get("weight_map") if isinstance(decoded, dict) else None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise ModelError(f"{place}: {INDEX} holds no weight_map.", "Download or copy the model again.")
    for name in set(found.values()):
        path = PurePosixPath(name)
        if not name.endswith(".safetensors"):
            raise ModelError(f"{place}: {INDEX} names {shown(name)}, no safetensors file.", SAFETENSORS_ONLY)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise ModelError(
                f"{place}: {INDEX} names {shown(name)}, outside the folder.", "Do not use this model."
            )
    return found


def no_weights(names: Collection[str], place: str) -> tuple[str, str]:
    """The sentence and the next step for a folder without safetensors files."""
    pickles = sorted(name for name in names if name.endswith(PICKLES) and not NOT_WEIGHT_NAMES.match(name))
    if pickles:
        return (
            f"{place} holds its weights only as pickle files ({shown(pickles[0])}), which can run code when "
            "opened; fqconsole reads safetensors only.",
            SAFETENSORS_ONLY,
        )
    for suffix, word in OTHERS.items():
        if any(name.endswith(suffix) for name in names):
            return f"{place} holds its weights as {word} only; fqconsole reads safetensors.", SAFETENSORS_ONLY
    return f"{place} has no safetensors files.", "Name a folder with a model in it, or download it again."


def read_index(folder: Path) -> bytes | None:
    """The index file's content, None where there is none. Raises ModelError: unreadable or too large."""
    path = folder / INDEX
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise ModelError(f"{path} is larger than any index.", "Download or copy the model again.")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise ModelError(
            f"{path} can't be read: {failure.strerror or failure}.", "Check its rights."
        ) from failure


def folder_names(folder: Path) -> set[str]:
    """The names of the files in a folder whose content is there (a link to nothing does not count)."""
    try:
        return {entry.name for entry in folder.iterdir() if entry.is_file()}
    except OSError as failure:
        raise ModelError(
            f"{folder} can't be read: {failure.strerror or failure}.", "Check the path."
        ) from failure


def read_tensors(folder: Path) -> tuple[TensorInfo, ...]:
    """Every tensor of the model in `folder`, file by file in the order of their bytes.

    Raises ModelError: see choose_files and read_header, and when the index and the headers disagree.
    """
    index = read_index(folder)
    files = choose_files(folder_names(folder), index, str(folder))
    return collect(files, lambda name: read_header(folder / name, name), index, str(folder))


def collect(
    files: Sequence[str], read: Callable[[str], Sequence[TensorInfo]], index: bytes | None, place: str
) -> tuple[TensorInfo, ...]:
    """The tensors of all files, none twice, every one that the index names where it says."""
    tensors: dict[str, TensorInfo] = {}
    for name in files:
        for tensor in read(name):
            earlier = tensors.setdefault(tensor.name, tensor)
            if earlier is not tensor:
                raise ModelError(
                    f"{place}: tensor {shown(tensor.name)} is in {shown(earlier.file)} and in {shown(name)}.",
                    "Keep one model's files in the folder.",
                )
    if index is not None:
        for wanted, name in weight_map(index, place).items():
            if wanted not in tensors or tensors[wanted].file != name:
                raise ModelError(
                    f"{place}: {INDEX} says {shown(name)} holds tensor {shown(wanted)}, which it does not.",
                    "Download or copy the model again.",
                )
    if not tensors:
        raise ModelError(f"{place} holds no tensors.", "Download or copy the model again.")
    return tuple(tensors.values())


def _refuse_missing(missing: Sequence[str], count: int, place: str) -> None:
    if not missing:
        return
    named = ", ".join(shown(name) for name in missing[:3]) + (", …" if len(missing) > 3 else "")
    of = f"{len(missing)} of {count} weight files are" if count > 1 else "the weight file is"
    raise ModelError(f"{place} is incomplete: {of} missing ({named}).", "Download or copy the model again.")
