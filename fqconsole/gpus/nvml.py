"""The only door to NVML (nvidia-ml-py): every call may fail, and then gives None instead of an exception.

A GPU that falls off the bus, a driver that is unloaded, a reading that a card does not have, a library that
is not there: the console shows N/A and goes on.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import msgspec

from fqconsole.gpus.snapshot import MigSlice

# Why clocks are held down, by the bits of NVML's clocks event reasons. Idle (0x1), clocks set by the operator
# (0x2), sync boost (0x10) and display settings (0x100) are no trouble and are left out.
THROTTLE_REASONS: Mapping[int, str] = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
LOST = frozenset({"NVMLError_GpuIsLost", "NVMLError_Uninitialized", "NVMLError_DriverNotLoaded"})


class Memory(msgspec.Struct, frozen=True):
    """Bytes of one GPU. `free` leaves out what the driver keeps for itself."""

    total: int
    used: int
    free: int


class HeldMemory(msgspec.Struct, frozen=True):
    """What one process holds of one GPU, by the process id that NVML tells."""

    pid: int
    memory_bytes: int | None


class Nvml:
    """Readings of the GPUs through a module with the functions of pynvml; None stands for every failure."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.problem = ""

    def start(self) -> bool:
        """Connects to the driver; False, with a sentence in `problem`, when there is none."""
        try:
            self._module.nvmlInit()
        except Exception as failure:  # noqa: BLE001 - NVML's errors are classes made at run time
            self.problem = _start_problem(failure)
            return False
        if not self.count():
            self.problem = self.problem or "The NVIDIA driver answers, and shows no GPU."
            return False
        return True

    def count(self) -> int:
        """How many GPUs the driver shows; 0 when it does not answer."""
        return int(self._ask("nvmlDeviceGetCount") or 0)

    def handle(self, index: int) -> Any:
        """What the other readings need to name a GPU."""
        return self._ask("nvmlDeviceGetHandleByIndex", index)

    def name(self, handle: Any) -> str | None:
        return _text(self._ask("nvmlDeviceGetName", handle))

    def uuid(self, handle: Any) -> str | None:
        return _text(self._ask("nvmlDeviceGetUUID", handle))

    def capability(self, handle: Any) -> int | None:
        """80 for compute capability 8.0."""
        match self._ask("nvmlDeviceGetCudaComputeCapability", handle):
            case [int(major), int(minor)]:
                return 10 * major + minor
        return None

    def driver(self) -> str | None:
        return _text(self._ask("nvmlSystemGetDriverVersion"))

    def memory(self, handle: Any) -> Memory | None:
        """By version 2 of the call: version 1 counts what the driver reserves as used."""
        version = getattr(self._module, "nvmlMemory_v2", None)
        read = None
        if version is not None:
            read = self._ask("nvmlDeviceGetMemoryInfo", handle, version)
        if read is None:  # an old driver
            read = self._ask("nvmlDeviceGetMemoryInfo", handle)
        try:
            return None if read is None else Memory(int(read.total), int(read.used), int(read.free))
        except (AttributeError, TypeError, ValueError):
            return None

    def memory_unsupported(self, handle: Any) -> bool:
        """True where the GPU has no memory of its own: it answers that this reading does not exist."""
        try:
            self._module.nvmlDeviceGetMemoryInfo(handle)
        except Exception as failure:  # noqa: BLE001
            return type(failure).__name__ == "NVMLError_NotSupported"
        return False

    def utilization(self, handle: Any) -> float | None:
        """Percent of the last sampling period in which a kernel ran."""
        return _number(getattr(self._ask("nvmlDeviceGetUtilizationRates", handle), "gpu", None))

    def power(self, handle: Any) -> float | None:
        """Watts now."""
        return _number(self._ask("nvmlDeviceGetPowerUsage", handle), scale=1e-3)

    def power_limit(self, handle: Any) -> float | None:
        """Watts allowed."""
        return _number(self._ask("nvmlDeviceGetEnforcedPowerLimit", handle), scale=1e-3)

    def temperature(self, handle: Any) -> float | None:
        """Degrees Celsius of the GPU's core."""
        return _number(
            self._ask("nvmlDeviceGetTemperature", handle, self._constant("NVML_TEMPERATURE_GPU", 0))
        )

    def sm_clock(self, handle: Any) -> float | None:
        """MHz of the multiprocessors now."""
        return _number(self._ask("nvmlDeviceGetClockInfo", handle, self._constant("NVML_CLOCK_SM", 1)))

    def throttle(self, handle: Any) -> tuple[str, ...]:
        """Words for why the clocks are held down; empty when they are not, or it can't be read."""
        mask = self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if mask is None:  # the name before driver 535
            mask = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        if not isinstance(mask, int):
            return ()
        return tuple(word for bit, word in THROTTLE_REASONS.items() if mask & bit)

    def mig(self, handle: Any) -> tuple[MigSlice, ...]:
        """The slices of a GPU that MIG divides; empty where it is whole, or does not say."""
        match self._ask("nvmlDeviceGetMigMode", handle):
            case [1, _pending]:
                pass
            case _:
                return ()
        found = []
        for index in range(int(self._ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0)):
            piece = self._ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
            if piece is not None:
                memory = self.memory(piece)
                name = (self.name(piece) or "slice").rpartition("MIG ")[2]
                found.append(
                    MigSlice(
                        name,
                        self.uuid(piece) or "",
                        memory.total if memory else None,
                        memory.used if memory else None,
                    )
                )
        return tuple(found)

    def processes(self, handle: Any) -> tuple[HeldMemory, ...]:
        """Every process that computes or draws on the GPU."""
        held: dict[int, HeldMemory] = {}
        for call in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
            listed = self._ask(call, handle)
            for process in listed if isinstance(listed, list) else ():
                pid = getattr(process, "pid", None)
                if not isinstance(pid, int):
                    continue
                used = getattr(process, "usedGpuMemory", None)
                # "Not available" is written as None or as the largest unsigned number.
                known = isinstance(used, int) and 0 <= used < 1 << 62
                earlier = held.get(pid)
                if earlier is None or (known and earlier.memory_bytes is None):
                    held[pid] = HeldMemory(pid, used if known else None)
        return tuple(held.values())

    def _constant(self, name: str, otherwise: int) -> int:
        value = getattr(self._module, name, otherwise)
        return value if isinstance(value, int) else otherwise

    def _ask(self, call: str, *arguments: Any) -> Any:
        function = getattr(self._module, call, None)
        if function is None:
            return None
        try:
            return function(*arguments)
        except Exception as failure:  # noqa: BLE001 - NVML's errors are classes made at run time
            if type(failure).__name__ in LOST:
                self.problem = "The GPU or its driver no longer answers. Run `nvidia-smi` to see why."
            return None


def load() -> Nvml:
    """NVML through nvidia-ml-py; its `problem` is set when the package is not installed."""
    try:
        module = importlib.import_module("pynvml")
    except ImportError:
        missing = Nvml(None)
        missing.problem = "The Python package nvidia-ml-py is not installed."
        return missing
    return Nvml(module)


def _start_problem(failure: Exception) -> str:
    name = type(failure).__name__
    if name == "NVMLError_LibraryNotFound":
        return "No NVIDIA driver on this machine."
    if name == "NVMLError_DriverNotLoaded":
        return "The NVIDIA driver is installed and not loaded."
    if name == "NVMLError_NoPermission":
        return "This user may not ask the NVIDIA driver."
    if name == "NVMLError_LibRmVersionMismatch":
        return "The NVIDIA driver and its library have different versions; a restart usually cures that."
    return f"The NVIDIA driver does not answer ({name})."


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):  # versions before 12
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _number(value: Any, scale: float = 1.0) -> float | None:
    return float(value) * scale if isinstance(value, int | float) and not isinstance(value, bool) else None
