"""Samples every GPU when asked, from any thread; and a short history for the screens."""

import threading
import time
from collections import deque
from collections.abc import Callable

import psutil

from fqconsole.gpus.nvml import Memory, Nvml, load
from fqconsole.gpus.processes import name_process
from fqconsole.gpus.snapshot import GpuProcess, GpuSnapshot

PROCESS_SECONDS = 2.0  # naming processes costs more than all other readings, and they change seldom


class GpuWatcher:
    """The GPUs of this machine. Where there are none, `available` is False and `problem` says why."""

    def __init__(self, nvml: Nvml, clock: Callable[[], float] = time.time) -> None:
        self._nvml = nvml
        self._clock = clock
        self._lock = threading.Lock()  # NVML is thread-safe, the caches here are not
        self._count = 0
        self._identities: dict[int, tuple[str, str, int | None]] = {}
        self._driver = ""
        self._processes: dict[int, tuple[float, tuple[GpuProcess, ...]]] = {}
        self.available = not nvml.problem and nvml.start()
        if self.available:
            self._count = nvml.count()
            self._driver = nvml.driver() or ""

    @property
    def problem(self) -> str:
        """Why there is no GPU, or that one was lost; empty while all is well."""
        return self._nvml.problem

    def sample(self) -> tuple[GpuSnapshot, ...]:
        """One snapshot per GPU, in NVML's order; empty where there is none. Never raises."""
        if not self.available:
            return ()
        with self._lock:
            return tuple(self._snapshot(index) for index in range(self._count))

    def _snapshot(self, index: int) -> GpuSnapshot:
        nvml = self._nvml
        now = self._clock()
        handle = nvml.handle(index)
        name, uuid, capability = self._identity(index, handle)
        if handle is None:
            return GpuSnapshot(index, name, uuid, t=now)
        processes = self._held_by(index, handle, now)
        memory = nvml.memory(handle)
        unified = memory is None and nvml.memory_unsupported(handle)
        if unified:
            memory = _machine_memory()
        return GpuSnapshot(
            index=index,
            name=name,
            uuid=uuid,
            memory_total=memory.total if memory else None,
            memory_used=memory.used if memory else None,
            memory_free=memory.free if memory else None,
            utilization=nvml.utilization(handle),
            power_watts=nvml.power(handle),
            power_limit_watts=nvml.power_limit(handle),
            temperature=nvml.temperature(handle),
            sm_clock_mhz=nvml.sm_clock(handle),
            throttle=nvml.throttle(handle),
            processes=processes,
            t=now,
            unified_memory=unified,
            capability=capability,
            driver=self._driver,
            mig=nvml.mig(handle),
        )

    def _identity(self, index: int, handle: object) -> tuple[str, str, int | None]:
        """Name, uuid and compute capability do not change: asked once, still known when the GPU is lost."""
        known = self._identities.get(index)
        if known is None and handle is not None:
            name, uuid = self._nvml.name(handle), self._nvml.uuid(handle)
            known = (name or "NVIDIA GPU", uuid or "", self._nvml.capability(handle))
            if name is not None:
                self._identities[index] = known
        return known or ("NVIDIA GPU", "", None)

    def _held_by(self, index: int, handle: object, now: float) -> tuple[GpuProcess, ...]:
        since, processes = self._processes.get(index, (float("-inf"), ()))
        if not 0 <= now - since < PROCESS_SECONDS:
            named = (name_process(held) for held in self._nvml.processes(handle))
            processes = tuple(sorted(named, key=lambda process: -(process.memory_bytes or 0)))
            self._processes[index] = now, processes
        return processes


class History:
    """The last `length` samples of every GPU, for sparklines; feed it from one thread."""

    def __init__(self, length: int = 120) -> None:
        self._samples: dict[int, deque[GpuSnapshot]] = {}
        self._length = length

    def add(self, snapshots: tuple[GpuSnapshot, ...]) -> None:
        """Takes one sample of all GPUs."""
        for snapshot in snapshots:
            self._samples.setdefault(snapshot.index, deque(maxlen=self._length)).append(snapshot)

    def latest(self) -> tuple[GpuSnapshot, ...]:
        """The newest snapshot of each GPU."""
        return tuple(samples[-1] for _, samples in sorted(self._samples.items()))

    def series(self, index: int, reading: str) -> tuple[float | None, ...]:
        """One reading ("utilization", "memory_used", …) of one GPU over time, oldest first."""
        return tuple(getattr(snapshot, reading) for snapshot in self._samples.get(index, ()))

    def peak_memory(self, index: int) -> int | None:
        """Most bytes in use over the history; None where it was never read."""
        return max(
            (s.memory_used for s in self._samples.get(index, ()) if s.memory_used is not None), default=None
        )


def open_gpus() -> GpuWatcher:
    """A watcher over this machine's GPUs. Never raises: where there are none, it says why."""
    return GpuWatcher(load())


def _machine_memory() -> Memory | None:
    """Unified-memory machines: the GPU's memory is the machine's (/proc/meminfo, through psutil)."""
    try:
        memory = psutil.virtual_memory()
    except (OSError, RuntimeError):
        return None
    return Memory(memory.total, memory.total - memory.available, memory.available)
