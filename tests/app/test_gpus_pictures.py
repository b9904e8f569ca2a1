"""Pictures of the GPUs screen: one, eight, one in slices, none, and held still."""

import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from fqconsole.app.console import FqConsole
from fqconsole.app.services import HostMemory
from tests.app.conftest import settled
from tests.app.fakes import GIB, FakeGpu, FakeProcess, fake_services

SMALL, MIDDLE = (80, 24), (120, 40)
SIZES = pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "120x40"])
READINGS = 90
WORKER = FakeProcess(27465, "fqconsole worker", "root", int(53.4 * GIB), True)
OTHER = FakeProcess(1203, "jupyter-kernel", "other", GIB // 2, False)
BUSY = FakeGpu(0, throttle=("power cap",), sm_clock_mhz=1755.0, processes=(WORKER, OTHER))
SLICED = FakeGpu(
    0,
    utilization=None,
    mig=(
        SimpleNamespace(name="1g.10gb", uuid="a", memory_total=int(9.8 * GIB), memory_used=int(4.1 * GIB)),
        SimpleNamespace(name="3g.40gb", uuid="b", memory_total=int(39.5 * GIB), memory_used=0),
    ),
)


@dataclass
class Waves:
    """Readings that rise and fall: the same ones at every run."""

    gpus: tuple[FakeGpu, ...]
    problem: str = ""
    now: int = 0
    given: list[int] = field(default_factory=list)

    @property
    def available(self) -> bool:
        return bool(self.gpus)

    def sample(self) -> tuple[FakeGpu, ...]:
        self.now += 1
        return tuple(self._at(gpu) for gpu in self.gpus)

    def _at(self, gpu: FakeGpu) -> FakeGpu:
        wave = 0.5 + 0.5 * math.sin(self.now / 6 + gpu.index)
        return replace(
            gpu,
            utilization=None if gpu.utilization is None else round(wave * 100),
            memory_used=int((0.6 + min(self.now, 60) * 0.9) * GIB),
            power_watts=70 + wave * 500,
            temperature=35 + wave * 40,
        )


@pytest.fixture
def picture(snapshot):
    def take(gpus: Waves, *keys: str, size=SMALL):
        hosts = iter(range(10**6))

        def host():
            step = next(hosts)
            return HostMemory(int((3 + step / 20) * GIB), 24 * GIB, cpu=50 + 45 * math.sin(step / 5))

        app = FqConsole(fake_services(gpus=gpus, host_memory=host))

        async def run(pilot):
            await settled(pilot)
            for _ in range(READINGS):
                await app._take_readings(gpus, gpus.sample(), host())
            for key in ("6", *keys):
                await pilot.press(key)
                await settled(pilot)

        return snapshot(app, terminal_size=size, run_before=run)

    return take


@SIZES
def test_one_gpu_with_its_history(picture, size):
    assert picture(Waves((BUSY,)), size=size)


@SIZES
def test_two_gpus_with_their_history(picture, size):
    assert picture(Waves((BUSY, FakeGpu(1))), size=size)


@SIZES
def test_eight_gpus(picture, size):
    assert picture(Waves((BUSY, *(FakeGpu(index) for index in range(1, 8)))), size=size)


def test_a_gpu_in_slices(picture):
    assert picture(Waves((SLICED,)))


@SIZES
def test_no_gpu_shows_the_machine(picture, size):
    assert picture(Waves((), problem="No NVIDIA driver on this machine."), size=size)


def test_held_still_and_read_less_often(picture):
    assert picture(Waves((BUSY, FakeGpu(1))), "p", "i", "s")
