"""Read what a safetensors file says it holds, and check that against the file, before anything is allocated.

The format: 8 bytes of header length (little-endian), the header as JSON, the tensors' bytes without gaps.
`data_offsets` in the header count from the end of the header; TensorInfo counts from the start of the file.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec

from fqconsole.errors import MALFORMED
from fqconsole.models.description import TensorInfo
from fqconsole.models.errors import ModelError, shown

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
MAX_DIMENSIONS = 16
MAX_SIZE = 1 << 48  # of one dimension and of one offset; keeps products of lying numbers small

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip

_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]


class _Entry(msgspec.Struct, frozen=True):
    """One tensor as the header writes it."""

    dtype: str
    shape: Annotated[list[_Size], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    data_offsets: tuple[_Size, _Size]


_outer = msgspec.json.Decoder(dict[str, msgspec.Raw])
_inner = msgspec.json.Decoder(_Entry)

DAMAGED = "Download or copy the file again."


def _refuse(file: str, what: str) -> NoReturn:
    raise ModelError(f"{shown(file)} {what}.", DAMAGED)


def header_length(first: bytes, file_size: int, file: str) -> int:
    """Bytes of JSON after the 8 length bytes, from the file's first 8 bytes.

    Raises ModelError when the file is too short for a header, or for the header it promises.
    """
    if file_size < LENGTH_BYTES or len(first) < LENGTH_BYTES:
        _refuse(file, f"is truncated: {min(file_size, len(first))} bytes are no safetensors file")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        _refuse(file, "is no safetensors file: it promises a header of more than 100 MB")
    if LENGTH_BYTES + length > file_size:
        _refuse(
            file, f"is truncated: it promises a header of {length} bytes and has {file_size} bytes in all"
        )
    return length


def parse_header(header: bytes, file_size: int, file: str) -> list[TensorInfo]:
    """The tensors of one file, in the order of their bytes, from the header's JSON and the file's real size.

    Raises ModelError, naming the file and the tensor, when the header is no header or lies about the file.
    """
    try:
        raw = _outer.decode(header)
    except MALFORMED:
        _refuse(file, "has a header that is no JSON object")
    raw.pop("__metadata__", None)
    data_start = LENGTH_BYTES + len(header)
    data_bytes = file_size - data_start
    tensors = [_tensor(name, entry, file, data_start) for name, entry in raw.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    position = data_start
    for tensor in tensors:
        if tensor.start != position:
            word = "overlaps the tensor before it" if tensor.start < position else "leaves a gap before it"
            _refuse(file, f"has a lying header: tensor {shown(tensor.name)} {word}")
        if tensor.end > file_size:
            _refuse(
                file,
                f"is truncated: tensor {shown(tensor.name)} ends at byte {tensor.end} "
                f"and the file at byte {file_size}",
            )
        position = tensor.end
    if position != file_size:
        described = position - data_start
        _refuse(
            file,
            f"has a lying header: it describes {described} bytes of weights and the file has {data_bytes}",
        )
    return tensors


def read_header(path: Path, file: str | None = None) -> list[TensorInfo]:
    """The tensors of the safetensors file at `path`; `file` is the name they carry (default: the file's own).

    Raises ModelError when the file is missing, unreadable, truncated, or its header lies.
    """
    name = path.name if file is None else file
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path} is no regular file.", "Name a folder with safetensors files.")
        with path.open("rb") as opened:
            first = opened.read(LENGTH_BYTES)
            header = opened.read(header_length(first, found.st_size, name))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing.", "Download or copy the model again.") from None
    except OSError as failure:
        raise ModelError(f"{path} can't be read: {failure.strerror or failure}.", DAMAGED) from failure
    return parse_header(header, found.st_size, name)


def _tensor(name: str, raw: msgspec.Raw, file: str, data_start: int) -> TensorInfo:
    try:
        entry = _inner.decode(raw)
    except MALFORMED as failure:
        _refuse(file, f"has a lying header: tensor {shown(name)}: {shown(failure, 120)}")
    bits = DTYPE_BITS.get(entry.dtype)
    if bits is None:
        _refuse(file, f"holds tensor {shown(name)} of the unknown dtype {shown(entry.dtype, 20)}")
    start, end = entry.data_offsets
    elements = 1
    for size in entry.shape:
        elements *= size
    if elements * bits != (end - start) * 8:
        shape = "×".join(str(size) for size in entry.shape)
        _refuse(
            file,
            f"has a lying header: tensor {shown(name)} ({entry.dtype} {shape}) does not match "
            f"its {end - start} bytes",
        )
    return TensorInfo(
        name=name,
        dtype=entry.dtype,
        shape=tuple(entry.shape),
        file=file,
        start=data_start + start,
        end=data_start + end,
    )
