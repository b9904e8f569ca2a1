"""The values of the small integer tensors called `weight_shape`: the one thing that headers don't tell."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fqconsole.models.description import TensorInfo

PACKED, SHAPE = ".weight_packed", ".weight_shape"
MAX_DIMENSIONS = 4
WIDTHS = {"I64": 8, "I32": 4}  # bytes of one value


def with_unpacked(folder: Path, tensors: Sequence[TensorInfo]) -> list[TensorInfo]:
    """The tensors, packed ones with the shape that their `weight_shape` tensor (int32 or int64) holds, where
    it can be read.
    """
    wanted: dict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in tensors:
        if tensor.name.endswith(SHAPE) and tensor.dtype in WIDTHS and tensor.elements <= MAX_DIMENSIONS:
            wanted[tensor.file].append(tensor)
    shapes: dict[str, tuple[int, ...]] = {}
    for file, held in wanted.items():
        try:
            with (folder / file).open("rb") as opened:
                for tensor in held:
                    data = os.pread(opened.fileno(), tensor.bytes, tensor.start)
                    if len(data) == tensor.bytes:
                        shapes[tensor.name] = _values(data, WIDTHS[tensor.dtype])
        except OSError:
            continue  # the headers were just read; what vanished since is taken from the packed words
    return [_with_shape(tensor, shapes) if tensor.name.endswith(PACKED) else tensor for tensor in tensors]


def _with_shape(packed: TensorInfo, shapes: dict[str, tuple[int, ...]]) -> TensorInfo:
    shape = shapes.get(packed.name.removesuffix(PACKED) + SHAPE, ())
    known = bool(shape) and all(0 < size < 1 << 40 for size in shape)
    return msgspec.structs.replace(packed, unpacked=shape) if known else packed


def _values(data: bytes, width: int) -> tuple[int, ...]:
    return tuple(
        int.from_bytes(data[place : place + width], "little", signed=True)
        for place in range(0, len(data), width)
    )
