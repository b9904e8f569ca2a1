"""Which device a session runs on, in which dtype it computes, and how memory and time are read there."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from fqconsole.host_peak import host_peak, reset_host_peak

ONE_THREAD_BYTES = 64 << 20
_DTYPE_WORDS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


def compute_dtype(stored: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype a checkpoint stored in `stored` computes in, the same for its quantized and its 16-bit form.

    As stored, except on a CPU whose matrix units don't know that dtype: there float32 is several times
    faster.
    """
    if device.type != "cpu" or stored == torch.float32:
        return stored
    probe = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }.get(stored)
    supported = probe is not None and getattr(torch.ops.mkldnn, probe)()
    return stored if supported else torch.float32


def work_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What activations are rounded to for a packed product, in a model that computes in `dtype`.

    The fused kernels take bf16 and fp16 on a GPU and bf16 alone on a CPU. Rounding activations to bf16 costs
    less than rounding weights to 8 bits, and dequantizing in every call instead is many times slower.
    """
    fits = (torch.bfloat16, torch.float16) if device.type == "cuda" else (torch.bfloat16,)
    return dtype if dtype in fits else torch.bfloat16


def dtype_word(dtype: torch.dtype) -> str:
    """The word "bf16", "fp16", "fp32", or torch's own word."""
    return _DTYPE_WORDS.get(dtype, str(dtype).removeprefix("torch."))


def reset_peak(device: torch.device) -> None:
    """Start measuring the memory peak anew. On a system that can't, the CPU's peak stays that of the process
    so far.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    reset_host_peak()


def peak_bytes(device: torch.device) -> int:
    """Memory peak since `reset_peak`: torch's allocated bytes on CUDA, the process's resident bytes on the
    CPU.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return host_peak()


def free_bytes(device: torch.device) -> int | None:
    """Memory of the device that is free; None where it can't be read."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def release(device: torch.device) -> None:
    """Give memory that torch holds but no tensor uses back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def at_home(device: torch.device, weights_bytes: int) -> Iterator[None]:
    """While open, work goes where it belongs: a GPU is torch's current one, and on a CPU a model small enough
    for one core's cache runs on one thread.

    A step of it takes microseconds per operation: threads that wait for each other gain nothing on a quiet
    machine and lose by a factor of twenty on a busy one (`python -m benchmarks.generate`).
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            yield
        return
    if device.type != "cpu" or weights_bytes > ONE_THREAD_BYTES:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Stopwatch:
    """Marks in time: CUDA events on a GPU (the device's own clock), the monotonic clock on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[Any] = []  # torch.cuda.Event, or seconds

    def mark(self) -> int:
        """Note this moment and return its number. On CUDA: when the device gets here, not the host."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())
        return len(self._marks) - 1

    def seconds(self, start: int, end: int) -> float:
        """Time between two marks; waits for the device to reach the later one."""
        first, last = self._marks[start], self._marks[end]
        if self._device.type != "cuda":
            return float(last - first)
        last.synchronize()
        return float(first.elapsed_time(last)) / 1000
