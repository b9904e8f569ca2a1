"""The memory that a job really took, told at its end as a measured term of the fit."""

import sys
import time
from collections.abc import Callable

from fqconsole.host_peak import host_peak
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


def device_index(device: str) -> int | None:
    """The GPU's number in "cuda:1"; None for the host."""
    if not device.startswith("cuda"):
        return None
    return int(device.partition(":")[2] or 0)
