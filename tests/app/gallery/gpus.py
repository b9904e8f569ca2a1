"""States of the GPUs screen."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from textual.pilot import Pilot

from fqconsole.app.console import FqConsole
from fqconsole.app.services import HostMemory
from tests.app.fakes import GIB, FakeGpu, FakeProcess, fake_services
from tests.app.gallery.state import Build, In, Place, State, Step, console, never

READINGS = 90
WORKER = FakeProcess(27465, "fqconsole worker", "root", int(53.4 * GIB), True)
OTHER = FakeProcess(1203, "jupyter-kernel", "other", GIB // 2, False)
UNSEEN = FakeProcess(None, "not visible from this container", "?", None, False)
BUSY = FakeGpu(0, throttle=("power cap",), sm_clock_mhz=1755.0, processes=(WORKER, OTHER))
IDLE = FakeGpu(1, processes=(UNSEEN,))
BLIND = FakeGpu(
    2, memory_total=None, memory_used=None, memory_free=None, utilization=None, power_watts=None,
    power_limit_watts=None, temperature=None, sm_clock_mhz=None,
)  # fmt: skip
SLICED = FakeGpu(
    0,
    utilization=None,
    mig=(
        SimpleNamespace(name="1g.10gb", uuid="a", memory_total=int(9.8 * GIB), memory_used=int(4.1 * GIB)),
        SimpleNamespace(name="3g.40gb", uuid="b", memory_total=int(39.5 * GIB), memory_used=0),
    ),
)
NO_DRIVER = "The NVIDIA driver is not loaded: libnvidia-ml.so.1 was not found."


@dataclass
class Waves:
    """Readings that rise and fall: the same ones at every run."""

    gpus: tuple[FakeGpu, ...]
    problem: str = ""
    now: int = 0

    @property
    def available(self) -> bool:
        return bool(self.gpus)

    def sample(self) -> tuple[FakeGpu, ...]:
        self.now += 1
        return tuple(self._at(gpu) if gpu.memory_total else gpu for gpu in self.gpus)

    def _at(self, gpu: FakeGpu) -> FakeGpu:
        wave = 0.5 + 0.5 * math.sin(self.now / 6 + gpu.index)
        return replace(
            gpu,
            utilization=None if gpu.utilization is None else round(wave * 100),
            memory_used=int((0.6 + min(self.now, 60) * 0.9) * GIB),
            power_watts=70 + wave * 500,
            temperature=35 + wave * 40,
        )


def watched(gpus: tuple[FakeGpu, ...], *keys: Step, problem: str = "") -> Build:
    """A console that has read these GPUs for a while."""

    def build(_place: Place) -> tuple[FqConsole, Iterable[Step]]:
        source = Waves(gpus, problem)
        hosts = iter(range(10**6))

        def host() -> HostMemory:
            step = next(hosts)
            return HostMemory(int((3 + step / 20) * GIB), 24 * GIB, cpu=50 + 45 * math.sin(step / 5))

        app = FqConsole(fake_services(gpus=source, host_memory=host))  # type: ignore[arg-type]

        async def read(_pilot: Pilot[Any]) -> None:
            for _ in range(READINGS):
                await app._take_readings(source, source.sample(), host())

        return app, (read, "6", *keys)

    return build


STATES = (
    State("gpus-loading", console("6", open_gpus=In(never)), held=True),
    State("gpus-none", watched((), problem=NO_DRIVER)),
    State("gpus-one", watched((BUSY,))),
    State("gpus-two", watched((BUSY, IDLE))),
    State("gpus-eight", watched((BUSY, *(FakeGpu(index) for index in range(1, 8))))),
    State("gpus-one-tells-nothing", watched((BUSY, IDLE, BLIND, FakeGpu(3, name="NVIDIA GeForce RTX 4090")))),
    State("gpus-slices", watched((SLICED,))),
)
