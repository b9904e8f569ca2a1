"""What a worker tells of itself first: its versions and the device that its job will use."""

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

from fqconsole.jobs.early_gpu import wake_gpu
from fqconsole.jobs.messages import (
    PROTOCOL,
    StartDescribe,
    StartDownload,
    StartEndpoint,
    StartExport,
    StartProbe,
    WorkerStarted,
)
from fqconsole.jobs.orders import AnyStart

UNPLACED = StartDownload | StartDescribe | StartExport | StartProbe
PACKAGES = ("fqconsole", "torch", "triton", "transformers")


def introduction(request: AnyStart | None) -> WorkerStarted:
    """The first event. Loads torch where the job will need it, to say what device "auto" came to.

    Raises UsageError where the request names a device that is not here.
    """
    device, name = "cpu", cpu_name()
    # A probe measures what loading torch takes; the others compute nothing on a GPU.
    if isinstance(request, StartEndpoint):
        device, name = "remote", request.url
    elif request is not None and not isinstance(request, UNPLACED):
        wake_gpu(request.device)
        device, name = _torch_device(request.device)
    return WorkerStarted(
        t=time.time(),
        pid=os.getpid(),
        protocol=PROTOCOL,
        versions=versions(),
        device=device,
        device_name=name,
        run_id=getattr(request, "run_id", ""),
    )


def versions() -> dict[str, str]:
    """Installed versions by package, read from their metadata without loading them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def seconds_alive() -> float:
    """Since this process was started; 0 where the system does not tell."""
    try:
        # Field 22, counted from 1: clock ticks from the system's start to this process's.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def cpu_name() -> str:
    """The processor's name as the kernel tells it, or the architecture."""
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()


def _torch_device(word: str) -> tuple[str, str]:
    import torch

    from quantizer.device import resolve_device

    device = resolve_device(word)
    if device.type == "cuda":
        return str(device), torch.cuda.get_device_name(device)
    return str(device), cpu_name()
