"""What the preview measures against: the GPUs found, a named one, or this machine's memory."""

import difflib
from collections.abc import Sequence
from typing import Literal

import msgspec

from fqconsole.errors import UsageError
from fqconsole.fit.catalogue import CATALOGUE, NamedGpu
from fqconsole.fit.host import host_memory
from fqconsole.gpus import GpuSnapshot

__all__ = ["CATALOGUE", "Capacity", "NamedGpu", "capacity_here", "host_capacity", "named_gpu"]


class Capacity(msgspec.Struct, frozen=True):
    """The memory of one device. `free_per_gpu` lists the GPUs here, the one with most free memory first."""

    name: str
    total_bytes: int
    free_bytes: int
    kind: Literal["gpu", "named gpu", "host"]
    free_per_gpu: tuple[int, ...] = ()
    source: str = ""  # where the two numbers come from

    def free_with(self, gpus: int) -> int:
        """Free bytes that each of `gpus` GPUs surely has: of several unequal ones, the fullest of the best.

        More GPUs than are here count as further ones like the fullest that is here.
        """
        if not self.free_per_gpu:
            return self.free_bytes
        return self.free_per_gpu[min(gpus, len(self.free_per_gpu)) - 1]


def capacity_here(snapshots: Sequence[GpuSnapshot] = ()) -> Capacity:
    """The GPUs of a sample, the one with most free memory first; without any, this machine's own memory.

    A GPU whose memory can't be read does not count.
    """
    known = [s for s in snapshots if s.memory_total is not None and s.memory_free is not None]
    if not known:
        return host_capacity()
    best = max(known, key=lambda snapshot: snapshot.memory_free or 0)
    return Capacity(
        name=best.name.removeprefix("NVIDIA "),
        total_bytes=best.memory_total or 0,
        free_bytes=best.memory_free or 0,
        kind="gpu",
        free_per_gpu=tuple(sorted((s.memory_free or 0 for s in known), reverse=True)),
        source="NVML, free now",
    )


def host_capacity() -> Capacity:
    """This machine's memory, where generation runs when there is no GPU."""
    total, available = host_memory()
    return Capacity("this machine's memory", total, available, "host", source="the system, available now")


def named_gpu(name: str) -> Capacity:
    """A card of the catalogue, idle. Raises UsageError naming the nearest ones."""
    found = CATALOGUE.get(name.strip().lower())
    if found is None:
        near = difflib.get_close_matches(name.strip().lower(), CATALOGUE, n=3, cutoff=0.4)
        words = " or ".join(near) if near else ", ".join(CATALOGUE)
        raise UsageError(f"There is no GPU called {name!r} in the catalogue.", f"Choose {words}.")
    return Capacity(found.name, found.total_bytes, found.free_bytes, "named gpu", source=found.source)
