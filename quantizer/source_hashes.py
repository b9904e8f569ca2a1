"""sha256 of source files, begun while a plan is still made: hashing takes longer than rounding on a GPU.

Threads of their own read the files, one after the other. Who quantizes a file takes its sum from here if that
was begun, and hashes what it reads itself if not. A sum counts only if the file has not changed since.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import psutil
import torch

from fqconsole.errors import OperatorError
from quantizer.device import reader_count
from quantizer.journal import SourceState, source_states
from quantizer.source import TensorFile

BLOCK = 4 << 20  # at a time: a thread asks for Python's lock once in some milliseconds
HELD_SECONDS = 0.05  # between two looks whether the job is still paused
SHARE_OF_MEMORY = 0.5  # files of more than that of the free memory would be read from the disk once more


class SourceHashes:
    """The sums of the files of one folder; a context manager whose threads end with it."""

    def __init__(self, folder: Path, *, is_held: Callable[[], bool] = lambda: False) -> None:
        """`is_held`: whether the job is paused, and nothing shall be read."""
        self._folder = folder
        self._is_held = is_held
        self._ending = threading.Event()
        self._threads: ThreadPoolExecutor | None = None
        self._begun: dict[str, Future[str | None]] = {}
        self._states: dict[str, SourceState] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def begin(self, files: Iterable[str], devices: Sequence[torch.device]) -> None:
        """Hash `files` from now on where that helps: a GPU would wait for it, and memory keeps what is read.

        Raises OperatorError where a file is missing.
        """
        wanted = list(dict.fromkeys(files))
        states = {state.file: state for state in source_states(self._folder, wanted)}
        room = SHARE_OF_MEMORY * psutil.virtual_memory().available
        if devices[0].type != "cuda" or sum(state.size for state in states.values()) > room:
            return
        self._states = states
        self._threads = ThreadPoolExecutor(reader_count(devices[0]), thread_name_prefix="sha256-ahead")
        self._begun = {file: self._threads.submit(self._hash, file) for file in wanted}

    def take(self, file: str) -> Callable[[], str] | None:
        """What waits for the sum of `file`; None if nobody has begun with it, nor will now.

        Waiting raises OperatorError where the file has changed since, or could not be read.
        """
        begun = self._begun.get(file)
        if begun is None or begun.cancel():
            return None
        return lambda: self._checked(file, begun)

    def _checked(self, file: str, begun: "Future[str | None]") -> str:
        found = begun.result()
        if found is None or source_states(self._folder, [file])[0] != self._states[file]:
            raise OperatorError(
                f"{self._folder / file} changed while it was read.", "Start again once nothing writes to it."
            )
        return found

    def _hash(self, file: str) -> str | None:
        """None where the job ended before."""
        digest, block = hashlib.sha256(), np.empty(BLOCK, dtype=np.uint8)
        size = self._states[file].size
        with TensorFile(self._folder / file) as opened:
            for start in range(0, size, BLOCK):
                while self._is_held() and not self._ending.is_set():
                    time.sleep(HELD_SECONDS)
                if self._ending.is_set():
                    return None
                part = block[: min(BLOCK, size - start)]
                opened.read_into(start, part)
                digest.update(part.data)
        return digest.hexdigest()
