"""The reference's log-probabilities on disk, so that two models are never in memory together."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fqconsole.errors import OperatorError

# A spool larger than this is slower than running both models side by side, where both fit.
COMFORTABLE_BYTES = 8 << 30
SPARE_BYTES = 1 << 30  # left free on the disk


def spool_bytes(tokens: int, vocab: int) -> int:
    """float32 log-probabilities of `tokens` positions."""
    return tokens * vocab * 4


def check_disk(folder: Path, needed: int, tokens: int) -> None:
    """Raises OperatorError when `folder`'s disk can't hold `needed` bytes with a gibibyte to spare."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES <= free:
        return
    affordable = int(tokens * max(free - SPARE_BYTES, 0) / needed)
    raise OperatorError(
        f"Comparing {tokens} tokens needs {needed / 2**30:.1f} GiB of temporary disk in {folder}, and "
        f"{free / 2**30:.1f} GiB are free.",
        f"Evaluate at most {affordable} tokens (--max-tokens), or free some disk.",
    )


class Spool:
    """A file without a name, gone when it is closed or the process ends: float32 rows written once, then read
    in order.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `close`)

    def write(self, values: Tensor) -> None:
        """Append float32 values. Raises OperatorError when the disk is full."""
        try:
            self._file.write(values.contiguous().cpu().numpy().tobytes())
        except OSError as error:
            raise OperatorError(
                f"The temporary file for the comparison can't be written: {error.strerror}.",
                "Free some disk, or evaluate fewer tokens (--max-tokens).",
            ) from error

    def rewind(self) -> None:
        """Read from the start."""
        self._file.seek(0)

    def read(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """The next values as a float32 tensor on `device`. Raises EOFError past the end."""
        count = int(np.prod(shape))
        values = np.fromfile(self._file, dtype=np.float32, count=count)
        if values.size != count:
            raise EOFError(f"{count} values wanted, {values.size} left")
        return torch.from_numpy(values).reshape(shape).to(device)

    def close(self) -> None:
        self._file.close()
