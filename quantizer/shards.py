"""Write one safetensors file piece by piece: header first (the plan knows it), then the data in any order.

Tensors lie in the file by falling width of their dtype, then by name, so that each is aligned to its dtype
however odd the shapes are. The file has a `.tmp` name until it is whole, synced to disk and checksummed.
"""

import errno
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from fqconsole.models.safetensors_header import DTYPE_BITS, LENGTH_BYTES
from quantizer.disk import TEMPORARY, sync_folder, write_failure
from quantizer.journal import WrittenShard
from quantizer.parts import StoredTensor
from quantizer.source import Bytes, file_sha256

HEADER_ALIGNMENT = 8  # keeps the first tensor aligned to the widest dtype


class ShardWriter:
    """One safetensors file under construction in `folder`; several threads may write to it.

    Every method raises OperatorError with a sentence when the disk is full or can't be written.
    """

    def __init__(self, folder: Path, file: str, tensors: Sequence[StoredTensor]) -> None:
        header, self._offsets = build_header(tensors)
        self._file = file
        self._path = folder / file
        self._temporary = folder / (file + TEMPORARY)
        self._size = len(header) + sum(tensor.bytes for tensor in tensors)
        self._missing = self._size - len(header)
        self._counting = threading.Lock()
        self._closing = threading.Lock()
        try:
            self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as failure:
            raise write_failure(failure, self._temporary) from failure
        try:
            self._reserve()
            self._write_at(memoryview(header), 0)
        except BaseException:
            self.discard()
            raise

    def write(self, tensor: str, data: Bytes, offset: int = 0) -> None:
        """Bytes of one tensor from `offset` in it; each byte of the file is to be written once."""
        self._write_at(data.data, self._offsets[tensor] + offset)
        with self._counting:
            self._missing -= len(data)

    def flush(self) -> None:
        """Bring what is written so far to the disk: the end is then no long wait. Later it does nothing."""
        with self._closing:
            try:
                if self._fd >= 0:
                    os.fdatasync(self._fd)
            except OSError as failure:
                raise write_failure(failure, self._temporary) from failure

    def finish(self) -> WrittenShard:
        """Sync, give the file its name, checksum what was written. Raises ValueError if bytes are missing."""
        if self._missing:
            raise ValueError(f"{self._file}: {self._missing} bytes were not written")
        try:
            os.fsync(self._fd)
            self._close()
            self._temporary.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as failure:
            raise write_failure(failure, self._path) from failure
        return WrittenShard(self._file, self._size, file_sha256(self._path))

    def discard(self) -> None:
        """Close and delete what is not finished; harmless afterwards."""
        self._close()
        self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        with self._closing:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _reserve(self) -> None:
        """Take the disk space at once: a full disk is known now and not hours later."""
        try:
            os.posix_fallocate(self._fd, 0, self._size)
        except OSError as failure:
            if failure.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise write_failure(failure, self._temporary) from failure
            os.truncate(self._fd, self._size)

    def _write_at(self, data: memoryview, position: int) -> None:
        done = 0
        while done < len(data):
            try:
                done += os.pwrite(self._fd, data[done:], position + done)
            except OSError as failure:
                raise write_failure(failure, self._temporary) from failure


def build_header(tensors: Sequence[StoredTensor]) -> tuple[bytes, dict[str, int]]:
    """The header with its 8 length bytes, and where each tensor's data begins in the file."""
    placed = sorted(tensors, key=lambda tensor: (-DTYPE_BITS[tensor.dtype], tensor.name))
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    starts: dict[str, int] = {}
    for tensor in placed:
        starts[tensor.name] = position
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [position, position + tensor.bytes],
        }
        position += tensor.bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(LENGTH_BYTES + len(text)) % HEADER_ALIGNMENT)
    header = len(text).to_bytes(LENGTH_BYTES, "little") + text
    return header, {name: len(header) + start for name, start in starts.items()}
