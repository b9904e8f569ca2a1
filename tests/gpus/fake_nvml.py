"""An object with pynvml's functions and readings as two H100s give them; any reading can be made to fail."""

from types import SimpleNamespace
from typing import Any

MIB = 1 << 20


class NVMLError(Exception):
    """As in pynvml: one class for each code, told apart by name."""


class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_GpuIsLost(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_DriverNotLoaded(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_Unknown(NVMLError):  # noqa: N801, N818
    pass


READINGS: dict[str, Any] = {
    "nvmlInit": None,
    "nvmlDeviceGetCount": 2,
    "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
    "nvmlDeviceGetUUID": "GPU-7bd1a3f4-2c5e-4b1e-9a57-0d6f2f6c1f00",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(
        total=81559 * MIB, used=4 * MIB, free=81005 * MIB, reserved=550 * MIB
    ),
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=41),
    "nvmlDeviceGetPowerUsage": 412345,
    "nvmlDeviceGetEnforcedPowerLimit": 700000,
    "nvmlDeviceGetTemperature": 72,
    "nvmlDeviceGetClockInfo": 1755,
    "nvmlDeviceGetCurrentClocksEventReasons": 0x4 | 0x1,
    "nvmlDeviceGetComputeRunningProcesses": [],
    "nvmlDeviceGetGraphicsRunningProcesses": [],
}


class FakeNvml:
    """`readings` by function name; one that is an exception is raised, one that is a function is called."""

    nvmlMemory_v2 = 0x02000028  # noqa: N815
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1

    def __init__(self, **changes: Any) -> None:
        self.readings = {**READINGS, **changes}
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if name == "nvmlDeviceGetHandleByIndex" and name not in self.__dict__["readings"]:
            return lambda index: f"handle {index}"
        if name not in self.__dict__["readings"]:
            raise AttributeError(name)

        def ask(*arguments: Any) -> Any:
            self.asked.append((name, arguments))
            reading = self.readings[name]
            if isinstance(reading, Exception):
                raise reading
            return reading(*arguments) if callable(reading) else reading

        return ask
