"""Reading one safetensors file block by block, and hashing it on the way in a second thread.

Reads go through `pread` into buffers of their own and not through a memory map: the process then holds what
it works on and nothing else, however large the file is.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fqconsole.errors import OperatorError
from fqconsole.models.description import TensorInfo
from quantizer.parts import Piece

Bytes = NDArray[np.uint8]

READ_BLOCK = 8 << 20  # large enough for full disk speed, small enough to be nothing in memory
HASH_BLOCK = 1 << 20  # what is only hashed stays in a core's cache on its way

TORCH_DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64":
    torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "U16": torch.uint16, "U32": torch.uint32,
    "U64": torch.uint64,
}  # fmt: skip


class TensorFile:
    """One open safetensors file, whose tensors are known from its header. A context manager."""

    def __init__(self, path: Path, *, hashed: bool = False, pinned: bool = False) -> None:
        """`pinned`: what is read lies in page-locked memory, from where a GPU copies at full speed."""
        self.path = path
        self._pinned = pinned
        self._block: tuple[int, Tensor] | None = None  # the last transposed one: its columns come in steps
        try:
            self._fd = os.open(path, os.O_RDONLY)
        except OSError as failure:
            raise OperatorError(
                f"{path} can't be read: {failure.strerror}.", "Download or copy the model again."
            ) from failure
        self._hash = FileHash(self._fd, path) if hashed else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a hash under way is dropped."""
        if self._hash is not None:
            self._hash.close()
        os.close(self._fd)

    def read(self, start: int, length: int) -> Bytes:
        """`length` bytes from byte `start`. Raises OperatorError where the file ends before that."""
        data = self._room(length)
        read_exactly(self._fd, start, length, self.path, data)
        if self._hash is not None:
            self._hash.offer(start, data)
        return data

    def read_into(self, start: int, into: Bytes) -> None:
        """Fill `into` with the bytes from byte `start`, unhashed. Raises as `read` does."""
        read_exactly(self._fd, start, len(into), self.path, into)

    def rows(self, tensor: TensorInfo, first: int, count: int) -> Tensor:
        """Rows `first` to `first + count` of a tensor seen as `[rows, K]`, on the CPU."""
        row_bytes = tensor.bytes // (tensor.elements // tensor.shape[-1])
        data = self.read(tensor.start + first * row_bytes, count * row_bytes)
        return torch.from_numpy(data).view(torch_dtype(tensor)).reshape(count, tensor.shape[-1])

    def piece_rows(self, piece: Piece, first: int, count: int) -> Tensor:
        """Rows `first` to `first + count` of a piece, `[count, K]` on the CPU, however they are stored."""
        if not piece.transposed:
            return self.rows(piece.tensor, piece.first_row + first, count)
        tensor, columns = piece.tensor, piece.tensor.shape[-1]
        size = piece.row_bytes * columns
        start = tensor.start + piece.expert * size
        if self._block is None or self._block[0] != start:
            self._block = None
            data = torch.from_numpy(self.read(start, size))
            self._block = start, data.view(torch_dtype(tensor)).reshape(piece.k, columns)
        column = piece.first_row + first
        return self._block[1][:, column : column + count].t().contiguous()

    def sampled_rows(self, piece: Piece, places: Sequence[int]) -> Tensor:
        """Single rows of a piece, `[len(places), K]` on the CPU, however they are stored; unhashed."""
        if piece.transposed:
            return torch.cat([self.piece_rows(piece, place, 1) for place in places])
        size = piece.row_bytes
        data = self._room(len(places) * size)
        for index, place in enumerate(places):
            self.read_into(piece.source_start + place * size, data[index * size : (index + 1) * size])
        return torch.from_numpy(data).view(torch_dtype(piece.tensor)).reshape(len(places), piece.k)

    def tensor(self, tensor: TensorInfo) -> Tensor:
        """A whole tensor on the CPU."""
        if not tensor.elements:
            return torch.empty(tensor.shape, dtype=torch_dtype(tensor))
        data = torch.from_numpy(self.read(tensor.start, tensor.bytes))
        return data.view(torch_dtype(tensor)).reshape(tensor.shape)

    def blocks(self, tensor: TensorInfo) -> Iterator[tuple[int, Bytes]]:
        """A tensor's bytes as (offset in the tensor, block), for copying it unchanged."""
        for offset in range(0, tensor.bytes, READ_BLOCK):
            yield offset, self.read(tensor.start + offset, min(READ_BLOCK, tensor.bytes - offset))

    def _room(self, length: int) -> Bytes:
        if self._pinned:
            return torch.empty(length, dtype=torch.uint8, pin_memory=True).numpy()
        return np.empty(length, dtype=np.uint8)

    def sha256(self) -> str:
        """Of the whole file; what was not read yet is read now. Only for a file opened with `hashed`."""
        if self._hash is None:
            raise ValueError("the file was opened without hashing")
        return self._hash.finish()


class FileHash:
    """sha256 of a file in its own order, fed with blocks that are read anyway; gaps are read as they come up.

    At most one block waits for the hashing thread, so memory stays bounded.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._hash = hashlib.sha256()
        self._position = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")
        self._waiting: Future[None] | None = None

    def offer(self, start: int, data: Bytes) -> None:
        """Bytes of the file from `start`; those already hashed are skipped."""
        end = start + len(data)
        if end <= self._position:
            return
        self._catch_up(start)
        fresh = data[max(0, self._position - start) :]
        self._position = end
        self._settle()
        self._waiting = self._thread.submit(self._hash.update, fresh.data)

    def finish(self) -> str:
        """Hash what is left and return the hex digest."""
        self._catch_up(os.fstat(self._fd).st_size)
        self._settle()
        return self._hash.hexdigest()

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    def _catch_up(self, end: int) -> None:
        self._settle()
        block: Bytes = np.empty(max(0, min(HASH_BLOCK, end - self._position)), dtype=np.uint8)
        while self._position < end:
            length = min(len(block), end - self._position)
            self._hash.update(read_exactly(self._fd, self._position, length, self._path, block[:length]).data)
            self._position += length

    def _settle(self) -> None:
        if self._waiting is not None:
            self._waiting.result()
            self._waiting = None


def read_exactly(fd: int, start: int, length: int, path: Path, into: Bytes | None = None) -> Bytes:
    """`length` bytes from byte `start`, in memory given or new. Raises OperatorError where that fails."""
    data: Bytes = np.empty(length, dtype=np.uint8) if into is None else into
    view = data.data
    done = 0
    while done < length:
        try:
            got = os.preadv(fd, [view[done:]], start + done)
        except OSError as failure:
            raise OperatorError(
                f"{path} can't be read: {failure.strerror}.", "Check the disk, then start again."
            ) from failure
        if got == 0:
            raise OperatorError(
                f"{path} is truncated: it ends before byte {start + length}.", "Download or copy it again."
            )
        done += got
    return data


def file_sha256(path: Path) -> str:
    """Hex digest of a whole file. Raises OperatorError where it can't be read."""
    with TensorFile(path, hashed=True) as opened:
        return opened.sha256()


def torch_dtype(tensor: TensorInfo) -> torch.dtype:
    """Raises OperatorError for a dtype that torch has no word for."""
    found = TORCH_DTYPES.get(tensor.dtype)
    if found is None:
        raise OperatorError(
            f"{tensor.name} in {tensor.file} is stored as {tensor.dtype}, which can't be loaded."
        )
    return found


def as_bytes(tensor: Tensor) -> Bytes:
    """A tensor's memory on the host, without a copy where it lies there already."""
    flat = tensor.detach().contiguous().reshape(-1)
    if flat.is_cuda:  # page-locked memory is used again and again; other memory would be new, page by page
        flat = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=True).copy_(flat)
    memory: Bytes = flat.view(torch.uint8).numpy()
    return memory
