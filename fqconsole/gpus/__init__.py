"""The GPUs of this machine through NVML: memory, use, power, clocks, processes; nothing here raises."""

from fqconsole.gpus.snapshot import GpuProcess, GpuSnapshot, MigSlice
from fqconsole.gpus.watcher import GpuWatcher, History, open_gpus

__all__ = ["GpuProcess", "GpuSnapshot", "GpuWatcher", "History", "MigSlice", "open_gpus"]
