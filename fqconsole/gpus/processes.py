"""Who holds GPU memory: NVML's process ids matched with the processes that can be seen from here."""

from pathlib import Path

import psutil

from fqconsole.gpus.nvml import HeldMemory
from fqconsole.gpus.snapshot import NOT_VISIBLE, GpuProcess

WORKER_MODULE = "fqconsole.jobs.worker"
# The kernel gives the first process-id namespace this number; any other means a container.
HOST_NAMESPACE = "pid:[4026531836]"
PROC = Path("/proc")


def name_process(held: HeldMemory, proc: Path = PROC) -> GpuProcess:
    """The process behind one of NVML's ids. Never raises.

    In a container NVML tells ids of the host. Such an id may belong to no process here, or to another one: it
    is believed only where that process has an NVIDIA device open.
    """
    hidden = GpuProcess(None, NOT_VISIBLE, "?", held.memory_bytes, ours=False)
    if in_container(proc) and not holds_gpu(held.pid, proc):
        return hidden
    try:
        process = psutil.Process(held.pid)
        command = process.cmdline()
        name = process.name()
    except psutil.AccessDenied:
        return GpuProcess(held.pid, "?", "?", held.memory_bytes, ours=False)
    except (psutil.Error, OSError, ValueError, OverflowError):
        return hidden
    ours = WORKER_MODULE in command
    if ours:
        name = "fqconsole worker"
    elif command and command[0]:
        name = command[0].rsplit("/", 1)[-1]
    return GpuProcess(held.pid, name or "?", _user(process), held.memory_bytes, ours=ours)


def in_container(proc: Path = PROC) -> bool:
    """True where this process has a process-id namespace of its own."""
    try:
        return str((proc / "self/ns/pid").readlink()) != HOST_NAMESPACE
    except OSError:
        return False


def holds_gpu(pid: int, proc: Path = PROC) -> bool:
    """True where process `pid` has an NVIDIA device open; False also where that can't be seen."""
    try:
        return any(
            str(link.readlink()).startswith("/dev/nvidia") for link in (proc / str(pid) / "fd").iterdir()
        )
    except OSError:
        return False


def _user(process: psutil.Process) -> str:
    try:
        return str(process.username())
    except (psutil.Error, OSError, KeyError):
        return "?"
