"""Small files that survive a power cut, and the operator's sentences for a disk that fails."""

import errno
import os
from pathlib import Path

from fqconsole.errors import OperatorError

TEMPORARY = ".tmp"  # ends the name of a file that is not whole yet


def write_file(path: Path, data: bytes) -> None:
    """A small file, synced, under its name only when it is whole. Raises OperatorError."""
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(path)
    except OSError as failure:
        temporary.unlink(missing_ok=True)
        raise write_failure(failure, path) from failure


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_failure(failure: OSError, path: Path) -> OperatorError:
    """The operator's sentence for a failed write."""
    if failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return OperatorError(
            f"The disk under {path.parent} is full.", "Free space there, then start the same quantize again."
        )
    if failure.errno == errno.EFBIG:
        return OperatorError(
            f"{path} is larger than a file may be there.", "Choose a folder on another file system."
        )
    if failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OperatorError(f"{path.parent} is not writable.", "Choose another folder with --out.")
    return OperatorError(f"{path} can't be written: {failure.strerror or failure}.", "Check the disk there.")
