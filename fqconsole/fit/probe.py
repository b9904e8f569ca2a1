"""What a probe measured of a device, kept until driver, GPU, torch or triton change."""

import contextlib
import platform
import time
from importlib import metadata
from pathlib import Path

import msgspec

from fqconsole import paths
from fqconsole.device_probe import Probe
from fqconsole.errors import MALFORMED
from fqconsole.fit.capacity import Capacity
from fqconsole.fit.sizes import size
from fqconsole.fit.term import Term

PROBED = "probed here"


def host_name() -> str:
    """The word for this machine's own memory: a home folder may serve several machines."""
    return f"host {platform.node()}"


def version_of(package: str) -> str:
    """The installed version, read from its metadata; empty where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def probes_file() -> Path:
    """Where probes are kept."""
    return paths.cache_dir() / "probes.json"


def kept_probes() -> tuple[Probe, ...]:
    """All that were kept; none where the file can't be read."""
    try:
        return msgspec.json.decode(probes_file().read_bytes(), type=tuple[Probe, ...])
    except (OSError, *MALFORMED):
        return ()


def keep_probe(probe: Probe) -> None:
    """Keep `probe` in place of an earlier one with its key; a cache that can't be written is no failure."""
    others = [other for other in kept_probes() if other.key != probe.key]
    place = probes_file()
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_suffix(".partial")
        unfinished.write_bytes(msgspec.json.encode([*others, probe]))
        unfinished.replace(place)


def probed(capacity: Capacity) -> Capacity:
    """`capacity` with what a probe measured of this very device, where there was one. GPUs that are not here
    stay as they are.
    """
    if capacity.kind == "named gpu":
        return capacity
    on_host = capacity.kind == "host"
    wanted = (
        host_name() if on_host else capacity.name,
        "" if on_host else capacity.driver,
        version_of("torch"),
        version_of("triton"),
    )
    probe = next((probe for probe in kept_probes() if probe.key == wanted), None)
    if probe is None:
        return capacity
    changed = msgspec.structs.replace(capacity, runtime=runtime_term(probe, unified=capacity.unified))
    if not probe.bandwidth:
        return changed
    count = len(capacity.bandwidth_per_gpu) or 1
    return msgspec.structs.replace(
        changed, bandwidth_per_gpu=(probe.bandwidth,) * count, bandwidth_source=PROBED
    )


def runtime_term(probe: Probe, *, unified: bool = False) -> Term:
    """The runtime term that a probe gives."""
    day = time.strftime("%Y-%m-%d", time.localtime(probe.t))
    where = f"{PROBED} on {day}, torch {probe.torch}" + (f", triton {probe.triton}" if probe.triton else "")
    if probe.device == host_name():
        return Term("Python + torch", probe.process_bytes, "measured", f"the worker's own process\n{where}")
    # Workspaces are torch's own memory, which the activations count (`fqconsole.fit.scratch`).
    parts = {"CUDA context": probe.context_bytes, "kernels": probe.kernels_bytes}
    if unified:
        parts["process"] = probe.process_bytes
    words = ", ".join(f"{word} {size(count)}" for word, count in parts.items())
    return Term("CUDA + Triton", sum(parts.values()), "measured", f"{words}\n{where}")
