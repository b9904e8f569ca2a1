"""The GPUs of this machine through NVML: memory, use, power, clocks, processes; nothing here raises."""

from fqconsole.gpus.snapshot import GpuProcess, GpuSnapshot
from fqconsole.gpus.watcher import GpuWatcher, History, open_gpus

__all__ = ["GpuProcess", "GpuSnapshot", "GpuWatcher", "History", "open_gpus"]
