"""What this machine has without a GPU: free memory, and the width a CPU computes in."""

from functools import cache
from pathlib import Path

import psutil

CPUINFO = Path("/proc/cpuinfo")
# The instructions without which torch's matrix library has no bf16 or fp16 on x86.
BF16_FLAGS = frozenset({"avx512bw", "avx512vl", "avx512dq"})
FP16_FLAGS = frozenset({"avx512_fp16"})


def host_memory() -> tuple[int, int]:
    """Total and available bytes of the machine, a container's own limit taken into account."""
    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    limit, used = _container_limit()
    if limit is not None and limit < total:
        total, available = limit, min(available, max(0, limit - used))
    return total, available


def value_bytes(dtype: str, *, on_host: bool) -> int:
    """Bytes of one value where a model stored in `dtype` computes: 2, or 4.

    As stored, except on a CPU without instructions for that dtype: there generation computes in float32,
    which is several times faster.
    """
    if dtype == "float32":
        return 4
    if not on_host:
        return 2
    needed = FP16_FLAGS if dtype == "float16" else BF16_FLAGS
    return 2 if cpu_has(needed) else 4


def cpu_has(flags: frozenset[str]) -> bool:
    """Whether this CPU knows all of the instructions, by the kernel's words for them."""
    return flags <= _cpu_flags()


@cache
def _cpu_flags() -> frozenset[str]:
    try:
        with CPUINFO.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(("flags", "Features")):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def _container_limit(root: Path = Path("/sys/fs/cgroup")) -> tuple[int | None, int]:
    """The memory limit of this control group and what it uses; None where there is no limit."""
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = (root / limit_name).read_text().strip()
            used = (root / used_name).read_text().strip()
        except OSError:
            continue
        if limit.isdigit() and used.isdigit():
            return int(limit), _without_page_cache(root, int(used))
        return None, 0
    return None, 0


def _without_page_cache(root: Path, used: int) -> int:
    """Files that the kernel keeps in memory make way, so they do not count as used."""
    for name in ("memory.stat", "memory/memory.stat"):
        try:
            lines = (root / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            word, _, value = line.partition(" ")
            if word == "inactive_file" and value.isdigit():
                return max(0, used - int(value))
    return used
