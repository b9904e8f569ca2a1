"""Tensors of files to a GPU: several threads read blocks into page-locked memory, taken once.

    file ──preadv──▶ slot 0 … SLOTS - 1 (page-locked) ──copy engine──▶ tensor

A block is copied while the next ones are read, of the next tensor too; nobody waits for new memory page by
page, nor for the driver's own copy of what is not page-locked. A CPU's tensors are read as they are.
"""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch
from torch import Tensor

from fqconsole.models.description import TensorInfo
from quantizer.source import Bytes, TensorFile, torch_dtype

BLOCK = 2 << 20  # large enough for full speed, and several of them in a matrix
SLOTS = 16
MOST_READERS = 8
SMALLEST = 1 << 16  # bytes: what is smaller goes the plain way


@dataclass(frozen=True, eq=False)
class _Slot:
    """Page-locked memory of one block; `copied`: when the GPU has what was in it."""

    memory: Tensor
    bytes: Bytes
    copied: torch.cuda.Event


class Upload:
    """Loads tensors to the devices they are asked for on. Not for use from two threads at once."""

    def __init__(self) -> None:
        self._slots: dict[torch.device, list[_Slot]] = {}
        self._readers: ThreadPoolExecutor | None = None
        self._turn = 0

    def load(self, file: TensorFile, info: TensorInfo, device: torch.device | str) -> Tensor:
        """The tensor on `device`; of a GPU its current stream must be waited for, as for any other work.

        Raises as `TensorFile.tensor` does, and torch.OutOfMemoryError.
        """
        place = torch.device(device)
        if place.type != "cuda" or info.bytes < SMALLEST:
            return file.tensor(info).to(place)
        slots = self._slots_of(place)
        if not slots:
            return file.tensor(info).to(place)
        out = torch.empty(info.bytes, dtype=torch.uint8, device=place)
        self._fill(out, file, info.start, slots)
        return out.view(torch_dtype(info)).reshape(info.shape)

    def close(self) -> None:
        """Let the threads end; what was loaded stays, and what is on its way arrives."""
        if self._readers is not None:
            self._readers.shutdown()
        self._slots.clear()
        self._readers = None

    def _fill(self, out: Tensor, file: TensorFile, start: int, slots: list[_Slot]) -> None:
        """`out` uint8 with the file's bytes from `start`."""
        if self._readers is None:
            count = min(MOST_READERS, len(os.sched_getaffinity(0)))
            self._readers = ThreadPoolExecutor(count, thread_name_prefix="read")
        stream = torch.cuda.current_stream(out.device)
        waiting: deque[tuple[Future[None], _Slot, int, int]] = deque()

        def send() -> None:
            read, slot, offset, length = waiting[0]
            read.result()
            waiting.popleft()
            out[offset : offset + length].copy_(slot.memory[:length], non_blocking=True)
            slot.copied.record(stream)

        try:
            for offset in range(0, out.numel(), BLOCK):
                if len(waiting) == len(slots):
                    send()
                length = min(BLOCK, out.numel() - offset)
                slot = slots[self._turn]
                self._turn = (self._turn + 1) % len(slots)
                slot.copied.synchronize()
                read = self._readers.submit(file.read_into, start + offset, slot.bytes[:length])
                waiting.append((read, slot, offset, length))
            while waiting:
                send()
        finally:
            wait([read for read, *_ in waiting])  # none may write into a slot that is given up

    def _slots_of(self, device: torch.device) -> list[_Slot]:
        """None where the system locks no memory."""
        if device not in self._slots:
            try:
                memory = torch.empty(SLOTS * BLOCK, dtype=torch.uint8, pin_memory=True)
            except RuntimeError:
                self._slots[device] = []
            else:
                parts = [memory[start : start + BLOCK] for start in range(0, memory.numel(), BLOCK)]
                self._slots[device] = [_slot(part) for part in parts]
        return self._slots[device]


def _slot(memory: Tensor) -> _Slot:
    return _Slot(memory, memory.numpy(), torch.cuda.Event())  # type: ignore[no-untyped-call]
