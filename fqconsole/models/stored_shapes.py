"""The values of the small integer tensors called `weight_shape`: the one thing that headers don't tell."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fqconsole.models.description import TensorInfo

MAX_DIMENSIONS = 4
WIDTHS = {"I64": 8, "I32": 4}  # bytes of one value


def read_shapes(folder: Path, tensors: Sequence[TensorInfo]) -> Mapping[str, tuple[int, ...]]:
    """Tensor name → the shape that a `weight_shape` tensor holds (int32 or int64), where it can be read."""
    wanted: dict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in tensors:
        if (
            tensor.name.endswith(".weight_shape")
            and tensor.dtype in WIDTHS
            and tensor.elements <= MAX_DIMENSIONS
        ):
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
            continue  # the headers were just read; what vanished since is counted from the packed words
    return {
        name: shape for name, shape in shapes.items() if shape and all(0 < size < 1 << 40 for size in shape)
    }


def _values(data: bytes, width: int) -> tuple[int, ...]:
    return tuple(
        int.from_bytes(data[place : place + width], "little", signed=True)
        for place in range(0, len(data), width)
    )
