"""The memory that a job really took, told at its end as a measured term of the fit."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fqconsole.jobs.messages import Event, MemoryMeasured


def tell_peak(put: Callable[[Event], None], run_id: str) -> None:
    """The peak of each GPU that was used (torch's allocated bytes), and of the host (resident bytes)."""
    put(MemoryMeasured(t=time.time(), run_id=run_id, gpu=None, term="total", bytes=host_peak()))
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    for index in range(torch.cuda.device_count()):
        peak = int(torch.cuda.max_memory_allocated(index))
        if peak:
            put(MemoryMeasured(t=time.time(), run_id=run_id, gpu=index, term="total", bytes=peak))


def host_peak() -> int:
    """Most bytes that this process ever had resident."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_index(device: str) -> int | None:
    """The GPU's number in "cuda:1"; None for the host."""
    if not device.startswith("cuda"):
        return None
    return int(device.partition(":")[2] or 0)
