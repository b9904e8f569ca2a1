"""Named GPUs that can be asked about without having one.

`mib` is the memory that the driver shows on such a card (the total that nvidia-smi prints), from the vendor's
nominal size less what error correction and the firmware take. A machine's own reading goes before this table.
"""

from collections.abc import Mapping

import msgspec

MIB = 1 << 20
# What the driver keeps on an idle card before any program runs; NVML counts it as reserved, not free.
RESERVED_BYTES = 600 * MIB


class NamedGpu(msgspec.Struct, frozen=True):
    """A card of the catalogue."""

    id: str
    name: str
    nominal_gb: int
    mib: int
    source: str = "vendor's nominal"

    @property
    def total_bytes(self) -> int:
        return self.mib * MIB

    @property
    def free_bytes(self) -> int:
        """On an idle card."""
        return self.total_bytes - RESERVED_BYTES


_GPUS = (
    NamedGpu("t4-16gb", "T4", 16, 15360),
    NamedGpu("v100-16gb", "V100 16GB", 16, 16160),
    NamedGpu("v100-32gb", "V100 32GB", 32, 32510),
    NamedGpu("a10-24gb", "A10", 24, 23028),
    NamedGpu("a30-24gb", "A30", 24, 24576),
    NamedGpu("a40-48gb", "A40", 48, 46068),
    NamedGpu("a100-40gb", "A100 40GB", 40, 40536),
    NamedGpu("a100-80gb", "A100 80GB", 80, 81251),
    NamedGpu("l4-24gb", "L4", 24, 23034),
    NamedGpu("l40s-48gb", "L40S", 48, 46068),
    NamedGpu("h100-80gb", "H100 80GB", 80, 81559),
    NamedGpu("h100-nvl-94gb", "H100 NVL", 94, 95830),
    NamedGpu("h200-141gb", "H200", 141, 143771),
    NamedGpu("b200-180gb", "B200", 180, 183359),
    NamedGpu("rtxa6000-48gb", "RTX A6000", 48, 49140),
    NamedGpu("rtx6000ada-48gb", "RTX 6000 Ada", 48, 49140),
    NamedGpu("rtxpro6000-96gb", "RTX PRO 6000 Blackwell", 96, 97887),
    NamedGpu("rtx3060-12gb", "RTX 3060", 12, 12288),
    NamedGpu("rtx3090-24gb", "RTX 3090", 24, 24576),
    NamedGpu("rtx4060ti-16gb", "RTX 4060 Ti 16GB", 16, 16380),
    NamedGpu("rtx4080-16gb", "RTX 4080", 16, 16376),
    NamedGpu("rtx4090-24gb", "RTX 4090", 24, 24564),
    NamedGpu("rtx5080-16gb", "RTX 5080", 16, 16303),
    NamedGpu("rtx5090-32gb", "RTX 5090", 32, 32607),
)

CATALOGUE: Mapping[str, NamedGpu] = {gpu.id: gpu for gpu in _GPUS}
