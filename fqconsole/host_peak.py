"""The most memory that this process held at once, as the system counts it."""

import resource
import sys
from pathlib import Path


def host_peak() -> int:
    """Most bytes that were ever resident, or since `reset_host_peak`."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_host_peak() -> None:
    """Start measuring anew, on Linux; elsewhere the peak stays that of the process so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
