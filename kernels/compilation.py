"""Kernels compiled all at once, on all cores, before the first of them is launched.

Triton compiles a kernel when it is first launched, one after the other. A forward under `asked_for` launches
nothing: it only says which kernels it would, and they are then compiled side by side, or read from Triton's
cache, and put on the GPU. What the forward computes meanwhile is whatever memory held.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import torch

from kernels.launch import ASKED, Kind
from kernels.tuning import is_asked_for

MOST_THREADS = 16


def is_asking() -> bool:
    """Whether launches of this thread are only asked for."""
    return ASKED.get() is not None


def compiles_together(device: torch.device) -> bool:
    """Whether `asked_for` can be used: Triton does it, and no launch is to be timed."""
    if device.type != "cuda" or is_asked_for():
        return False
    try:
        from triton import AsyncCompileMode  # noqa: F401 — a version that has it
    except ImportError:
        return False
    return True


@contextlib.contextmanager
def asked_for(device: torch.device) -> Iterator[None]:
    """While open, launches through `Launch` are only asked for; at its end their kernels are on the GPU.

    A kernel that can't be compiled is left alone: its launch tells why.
    """
    asked: dict[Kind, Any] = {}
    threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(
        threads, thread_name_prefix="compile", initializer=torch.cuda.set_device, initargs=(device,)
    ) as pool:
        token = ASKED.set(asked)
        try:
            with _compiling_in(pool):
                yield
        finally:
            ASKED.reset(token)
        list(pool.map(_put_on_gpu, {id(kernel): kernel for kernel in asked.values()}.values()))


def _compiling_in(pool: ThreadPoolExecutor) -> AbstractContextManager[Any]:
    """Triton's own mode, in which kernels that are asked for are compiled in `pool`."""
    from triton import AsyncCompileMode

    try:
        mode: AbstractContextManager[Any] = AsyncCompileMode(pool, ignore_errors=True)
    except TypeError:  # a version without that choice: what can't be compiled ends it here
        mode = AsyncCompileMode(pool)
    return mode


def _put_on_gpu(kernel: Any) -> None:
    from triton import FutureKernel

    with contextlib.suppress(Exception):
        ready = kernel.result() if isinstance(kernel, FutureKernel) else kernel
        _ = ready.run  # Triton builds what launches it and loads its code when it is first asked for this


def wake_compiler() -> threading.Thread:
    """Make ready in a thread what Triton needs once a process: its driver, and a hash of itself (400 MB)."""
    from triton.runtime import cache, driver

    def prepare() -> None:
        with contextlib.suppress(Exception):  # the first launch tells why
            driver.active.get_current_target()
        key = getattr(cache, "triton_key", None)
        if key is not None:
            key()

    thread = threading.Thread(target=prepare, name="triton", daemon=True)
    thread.start()
    return thread
