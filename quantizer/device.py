"""Where the arithmetic runs: the device a word stands for, and the sentences for what can go wrong on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fqconsole.errors import DeviceError, UsageError

# Weights worked on at a time, with about 20 bytes of temporaries each: 5 MB on the CPU, so as to stay in the
# caches, and 320 MB on a GPU, so as to fill it.
CPU_BLOCK = 1 << 18
GPU_BLOCK = 1 << 24


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


def block_rows(device: torch.device, k: int) -> int:
    """Rows of a matrix `[N, K]` that are worked on at a time."""
    weights = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    return max(1, weights // k)


def allocated_bytes(device: torch.device) -> int | None:
    """What torch holds on the device now; None on the CPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


@contextmanager
def one_thread_a_block(device: torch.device) -> Iterator[None]:
    """On the CPU, work on each block in one thread: a block is too small to wait for other threads on a busy
    machine. Another core is not idle meanwhile: it hashes what was read.
    """
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
        if device.type == "cuda" and "CUDA" in str(failure):
            raise DeviceError(
                f"{device} was lost: {str(failure).splitlines()[0]}",
                "Check it with nvidia-smi, then start the same quantize again: it goes on where it was.",
            ) from failure
        raise
