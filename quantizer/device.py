"""Where the arithmetic runs: the device a word stands for, and the sentences for what can go wrong on it."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from fqconsole.errors import DeviceError, UsageError

# Weights worked on at a time, with about 20 bytes of temporaries each: 10 MB on the CPU, as much as stays in
# the caches and keeps calls few (half of it was a third slower), and 80 MB on a GPU, so as to fill it.
CPU_BLOCK = 1 << 19
GPU_BLOCK = 1 << 22
# Weights read at a time: many blocks, so that handing them over is nothing beside the work. For a GPU 16 MiB,
# of which every reader and worker has one and a few wait, in page-locked memory.
CPU_UNIT = 1 << 21
GPU_UNIT = 1 << 23
# Three workers, each with a unit of a ninth of the largest matrix at 20 bytes a weight, hold less than four
# times that matrix in 16 bits.
SHARE_OF_LARGEST = 9
SMALLEST_UNIT = 1 << 20
MAX_CPU_WORKERS = 16  # beyond this memory and disks are slower than the arithmetic
WORKERS_A_GPU = 3  # one computes while the others copy, and write what they have got
# A core reads and hashes 1 to 2 GB/s: on a CPU four of them are ahead of the arithmetic, for a GPU eight are
# just enough.
MAX_READERS = {"cpu": 4, "cuda": 8}
SECONDS_BETWEEN_LOOKS = 0.1  # at how much is allocated
SPARE_GPU_BYTES = 2 << 30  # free memory from which on a further GPU may help: its context and its blocks


def resolve_device(word: str) -> torch.device:
    """The device of a word, a GPU with its number; `auto`: the first GPU, else the CPU. Raises UsageError."""
    if word == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(word)
    except RuntimeError as failure:
        raise UsageError(
            f"There is no device {word!r}.", "Use auto, cpu, cuda or cuda:<number>."
        ) from failure
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(f"There is no device {word}: torch sees {count} GPUs.", "Use --device cpu.")
        return torch.device("cuda", device.index or 0)
    if device.type != "cpu":
        raise UsageError(f"{word} is not supported.", "Use auto, cpu, cuda or cuda:<number>.")
    return device


def resolve_devices(word: str) -> tuple[torch.device, ...]:
    """The devices that share a job: `auto` and `cuda` stand for every GPU with memory to spare, other words
    for one device. Raises UsageError.
    """
    first = resolve_device(word)
    if first.type == "cpu" or ":" in word:
        return (first,)
    others = [torch.device("cuda", index) for index in range(1, torch.cuda.device_count())]
    return (first, *(device for device in others if torch.cuda.mem_get_info(device)[0] >= SPARE_GPU_BYTES))


def workers_of(devices: Sequence[torch.device]) -> tuple[torch.device, ...]:
    """One entry for each thread that computes: a thread per core, or three per GPU."""
    cores = min(MAX_CPU_WORKERS, len(os.sched_getaffinity(0)))
    return tuple(
        device for device in devices for _ in range(cores if device.type == "cpu" else WORKERS_A_GPU)
    )


def reader_count(device: torch.device) -> int:
    """Files that are read and hashed at a time: hashing one file is one core's work."""
    return max(1, min(MAX_READERS[device.type], len(os.sched_getaffinity(0)) // 2))


def tasks_under_way(workers: Sequence[torch.device]) -> int:
    """Units that may be held at a time: one a reader that waits for its hash, two a worker."""
    device = workers[0]
    return 2 * len(workers) + (1 if device.type == "cpu" else reader_count(device))


def unit_weights(device: torch.device, largest: int) -> int:
    """Weights that are read and handed over at a time, where the largest matrix has `largest`."""
    if device.type == "cpu":
        return CPU_UNIT
    return max(min(SMALLEST_UNIT, largest), min(GPU_UNIT, largest // SHARE_OF_LARGEST))


def block_rows(device: torch.device, k: int) -> int:
    """Rows of a matrix `[N, K]` that are worked on at a time."""
    weights = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    return max(1, weights // k)


class AllocatedBytes:
    """The most that torch holds on one of the GPUs among `devices`; None where there is none.

    Looked up a few times a second, because a look takes as long as a dozen launches.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._gpus = [device for device in devices if device.type == "cuda"]
        self._found: int | None = None
        self._next = 0.0

    def __call__(self) -> int | None:
        now = time.monotonic()
        if self._gpus and now >= self._next:
            self._next = now + SECONDS_BETWEEN_LOOKS
            self._found = max(torch.cuda.memory_allocated(gpu) for gpu in self._gpus)
        return self._found


@contextmanager
def working_on(device: torch.device) -> Iterator[None]:
    """What a worker thread sets up for its device: on a GPU a stream of its own."""
    if device.type == "cpu":
        yield
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield


@contextmanager
def one_thread_a_block(device: torch.device) -> Iterator[None]:
    """On the CPU, work on each block in one thread: the other cores have blocks of their own."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def device_failures(device: torch.device) -> Iterator[None]:
    """Turn the device's failures into sentences: raises DeviceError."""
    try:
        yield
    except torch.OutOfMemoryError as failure:
        raise DeviceError(
            f"{device} ran out of memory.", "Free it, or quantize with --device cpu."
        ) from failure
    except RuntimeError as failure:
        if "CUDA" in str(failure):
            raise DeviceError(
                f"{device} was lost: {str(failure).splitlines()[0]}",
                "Check it with nvidia-smi, then start the same quantize again: it goes on where it was.",
            ) from failure
        raise
