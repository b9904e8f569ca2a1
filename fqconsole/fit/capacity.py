"""What the preview measures against: the GPUs found, a named one, or this machine's memory."""

import difflib
import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from fqconsole.errors import UsageError
from fqconsole.fit.catalogue import CATALOGUE, NamedGpu
from fqconsole.fit.host import host_memory
from fqconsole.fit.term import Term
from fqconsole.gpus import GpuSnapshot

__all__ = ["CATALOGUE", "Capacity", "NamedGpu", "capacity_here", "host_capacity", "named_gpu"]

OLDEST_FUSED = 80  # kernels.gpu.OLDEST_CAPABILITY: a test compares them
SAME_SIZE = 0.1  # cards of one name and so nearly one size are the same card
VENDOR = "vendor's nominal"


class Accuracy(msgspec.Struct, frozen=True):
    """How earlier previews on this device came true: errors are (measured - predicted) / predicted totals."""

    runs: int
    median: float
    most: float  # nine of ten errors are no larger either way


class Capacity(msgspec.Struct, frozen=True):
    """The memory of one device, or of several. The lists have one item a GPU, that with most free first."""

    name: str
    total_bytes: int
    free_bytes: int
    kind: Literal["gpu", "named gpu", "host"]
    free_per_gpu: tuple[int, ...] = ()
    source: str = ""  # where the two numbers come from
    bandwidth_per_gpu: tuple[int, ...] = ()  # bytes a second; 0 where it is not known
    bandwidth_source: str = ""
    fused: bool = True  # the Triton kernels run there
    unified: bool = False  # a GPU whose memory is the machine's: the process itself lies in it too
    driver: str = ""
    runtime: Term | None = None  # what the process takes without a model, where that was measured
    accuracy: Accuracy | None = None  # from this machine's own runs
    exchange: Term | None = None  # what NCCL keeps on each of several GPUs, where that was measured

    def rooms(self, gpus: int, margin: float = 0.0) -> tuple[int, ...]:
        """Free bytes of each of `gpus` GPUs, less `margin` of it; more than are here are like the last."""
        frees = _stretched(self.free_per_gpu or (self.free_bytes,), gpus)
        return tuple(free - int(free * margin) for free in frees)

    def bandwidths(self, gpus: int) -> tuple[int, ...]:
        """Bytes a second of each of `gpus` GPUs, 0 where that is not known."""
        return _stretched(self.bandwidth_per_gpu or (0,), gpus)


def _stretched(values: tuple[int, ...], count: int) -> tuple[int, ...]:
    return (*values, *(values[-1],) * (count - len(values)))[:count]


def capacity_here(snapshots: Sequence[GpuSnapshot] = ()) -> Capacity:
    """The GPUs of a sample, the one with most free memory first; without any, this machine's own memory.

    A GPU whose memory can't be read does not count.
    """
    known = [s for s in snapshots if s.memory_total is not None and s.memory_free is not None]
    if not known:
        return host_capacity()
    known.sort(key=lambda snapshot: snapshot.memory_free or 0, reverse=True)
    best = known[0]
    speeds = tuple(catalogued_bandwidth(s.name, s.memory_total or 0) for s in known)
    return Capacity(
        name=best.name.removeprefix("NVIDIA "),
        total_bytes=best.memory_total or 0,
        free_bytes=best.memory_free or 0,
        kind="gpu",
        free_per_gpu=tuple(s.memory_free or 0 for s in known),
        source="the machine's, available now" if best.unified_memory else "NVML, free now",
        bandwidth_per_gpu=speeds,
        bandwidth_source=VENDOR if any(speeds) else "",
        fused=all((s.capability or OLDEST_FUSED) >= OLDEST_FUSED for s in known),
        unified=best.unified_memory,
        driver=best.driver,
    )


def host_capacity() -> Capacity:
    """This machine's memory, where generation runs when there is no GPU."""
    total, available = host_memory()
    return Capacity("this machine's memory", total, available, "host", source="the system, available now")


def named_gpu(name: str) -> Capacity:
    """A card of the catalogue, idle; several, separated by commas, are the GPUs of one machine.

    Raises UsageError naming the nearest ones.
    """
    found = sorted(map(_catalogued, name.split(",")), key=lambda gpu: gpu.free_bytes, reverse=True)
    best = found[0]
    several = len(found) > 1
    return Capacity(
        " + ".join(gpu.name for gpu in found),
        best.total_bytes,
        best.free_bytes,
        "named gpu",
        free_per_gpu=tuple(gpu.free_bytes for gpu in found) if several else (),
        source=best.source,
        bandwidth_per_gpu=tuple(gpu.bandwidth for gpu in found),
        bandwidth_source=VENDOR,
        fused=all(gpu.fused for gpu in found),
        unified=best.unified,
    )


def catalogued_bandwidth(name: str, total_bytes: int) -> int:
    """Bytes a second of the catalogue's card that the driver's name and size mean; 0 where there is none."""
    said = set(re.split(r"[\s-]+", name.lower()))
    near = [
        gpu
        for gpu in CATALOGUE.values()
        if gpu.words <= said and abs(gpu.total_bytes - total_bytes) < SAME_SIZE * gpu.total_bytes
    ]
    return max(near, key=lambda gpu: len(gpu.words)).bandwidth if near else 0


def _catalogued(word: str) -> NamedGpu:
    found = CATALOGUE.get(word.strip().lower())
    if found is None:
        near = difflib.get_close_matches(word.strip().lower(), CATALOGUE, n=3, cutoff=0.4)
        words = " or ".join(near) if near else ", ".join(CATALOGUE)
        raise UsageError(f"There is no GPU called {word!r} in the catalogue.", f"Choose {words}.")
    return found
