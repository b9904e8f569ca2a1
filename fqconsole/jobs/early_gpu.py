"""A GPU's context, made while torch is still being imported: neither needs the other, both take seconds.

The driver is asked directly, since torch's own calls hold Python's lock meanwhile. What fails here fails
again when torch asks for it, and is told then.
"""

import ctypes
import importlib.util
import os
import threading
from pathlib import Path

DRIVER = "libcuda.so.1"


def wake_gpu(word: str) -> threading.Thread | None:
    """Start the driver and the context of the GPU that `word` (auto, cuda, cuda:1) will come to, in a thread.

    None for other words, and where there is no driver or torch is made for the CPU alone.
    """
    kind, _, index = word.partition(":")
    if kind not in ("auto", "cuda") or not (index or "0").isdigit() or not _torch_has_cuda():
        return None
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    # As torch has it: kernels are loaded when they are first launched, not all at the start.
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
    thread = threading.Thread(target=_make_context, args=(driver, int(index or 0)), daemon=True)
    thread.start()
    return thread


def _torch_has_cuda() -> bool:
    """By its files: it is not loaded for this."""
    found = importlib.util.find_spec("torch")
    folder = None if found is None or found.origin is None else Path(found.origin).parent
    return folder is not None and (folder / "lib" / "libtorch_cuda.so").exists()


def _make_context(driver: ctypes.CDLL, index: int) -> None:
    """The primary context, which torch then shares; kept until the process ends, as torch keeps it."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), index) == 0:
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
