"""One reading of one GPU, frozen with its time; what could not be read is None, shown as N/A."""

import msgspec

NOT_VISIBLE = "not visible from this container"


class GpuProcess(msgspec.Struct, frozen=True):
    """A process that holds memory of a GPU. `pid` is None where NVML's number means nothing here."""

    pid: int | None
    name: str
    user: str
    memory_bytes: int | None
    ours: bool  # a worker of fqconsole


class MigSlice(msgspec.Struct, frozen=True):
    """A part of a GPU that is divided by MIG; bytes."""

    name: str  # "1g.10gb"
    uuid: str
    memory_total: int | None = None
    memory_used: int | None = None


class GpuSnapshot(msgspec.Struct, frozen=True):
    """One GPU at time `t` (seconds since the epoch), in bytes, percent (0-100), watts, °C, MHz."""

    index: int
    name: str
    uuid: str
    memory_total: int | None = None
    memory_used: int | None = None
    memory_free: int | None = None
    utilization: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    temperature: float | None = None
    sm_clock_mhz: float | None = None
    throttle: tuple[str, ...] = ()  # why the clocks are held down, in words; idle does not count
    processes: tuple[GpuProcess, ...] = ()
    t: float = 0.0
    # The GPU shares the machine's memory, and the memory readings are the machine's.
    unified_memory: bool = False
    capability: int | None = None  # 80 is compute capability 8.0
    driver: str = ""
    mig: tuple[MigSlice, ...] = ()  # empty where the GPU is whole
