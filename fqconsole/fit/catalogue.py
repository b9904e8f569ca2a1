"""Named GPUs that can be asked about without having one.

`mib` is the memory that the driver shows on such a card (the total that nvidia-smi prints), from the vendor's
nominal size less what error correction and the firmware take; `gb_s` the vendor's memory bandwidth, of the
SXM form where there are several. A machine's own reading goes before this table.
"""

from collections.abc import Mapping

import msgspec

MIB = 1 << 20
# What the driver keeps on an idle card before any program runs; NVML counts it as reserved, not free.
RESERVED_BYTES = 600 * MIB
UNIFIED_RESERVED_BYTES = 4096 * MIB  # and the system's own programs, where the memory is the machine's


class NamedGpu(msgspec.Struct, frozen=True):
    """A card of the catalogue."""

    id: str
    name: str
    nominal_gb: int
    mib: int
    gb_s: int
    fused: bool = True  # compute capability 8.0 and more: the Triton kernels run
    unified: bool = False  # the memory is the machine's own
    source: str = "vendor's nominal"

    @property
    def total_bytes(self) -> int:
        return self.mib * MIB

    @property
    def free_bytes(self) -> int:
        """On an idle card."""
        return self.total_bytes - (UNIFIED_RESERVED_BYTES if self.unified else RESERVED_BYTES)

    @property
    def words(self) -> frozenset[str]:
        """What of its name the driver's name for it holds too: `{"rtx", "6000", "ada"}`."""
        plain = self.name.partition(" (")[0].lower().split()
        return frozenset(word for word in plain if not word.endswith("gb"))

    @property
    def bandwidth(self) -> int:
        """Bytes a second."""
        return self.gb_s * 10**9


_GPUS = (
    NamedGpu("t4-16gb", "T4", 16, 15360, 320, fused=False),
    NamedGpu("v100-16gb", "V100 16GB", 16, 16160, 900, fused=False),
    NamedGpu("v100-32gb", "V100 32GB", 32, 32510, 900, fused=False),
    NamedGpu("a10-24gb", "A10", 24, 23028, 600),
    NamedGpu("a30-24gb", "A30", 24, 24576, 933),
    NamedGpu("a40-48gb", "A40", 48, 46068, 696),
    NamedGpu("a100-40gb", "A100 40GB", 40, 40536, 1555),
    NamedGpu("a100-80gb", "A100 80GB", 80, 81251, 2039),
    NamedGpu("l4-24gb", "L4", 24, 23034, 300),
    NamedGpu("l40s-48gb", "L40S", 48, 46068, 864),
    NamedGpu("h100-80gb", "H100 80GB", 80, 81559, 3350),
    NamedGpu("h100-nvl-94gb", "H100 NVL", 94, 95830, 3938),
    NamedGpu("h200-141gb", "H200", 141, 143771, 4800),
    NamedGpu("b200-180gb", "B200", 180, 183359, 8000),
    NamedGpu("gb10-128gb", "GB10 (DGX Spark)", 128, 122560, 273, unified=True),
    NamedGpu("rtxa6000-48gb", "RTX A6000", 48, 49140, 768),
    NamedGpu("rtx6000ada-48gb", "RTX 6000 Ada", 48, 49140, 960),
    NamedGpu("rtxpro6000-96gb", "RTX PRO 6000 Blackwell", 96, 97887, 1792),
    NamedGpu("rtx3060-12gb", "RTX 3060", 12, 12288, 360),
    NamedGpu("rtx3090-24gb", "RTX 3090", 24, 24576, 936),
    NamedGpu("rtx4060ti-16gb", "RTX 4060 Ti 16GB", 16, 16380, 288),
    NamedGpu("rtx4080-16gb", "RTX 4080", 16, 16376, 717),
    NamedGpu("rtx4090-24gb", "RTX 4090", 24, 24564, 1008),
    NamedGpu("rtx5080-16gb", "RTX 5080", 16, 16303, 960),
    NamedGpu("rtx5090-32gb", "RTX 5090", 32, 32607, 1792),
)

CATALOGUE: Mapping[str, NamedGpu] = {gpu.id: gpu for gpu in _GPUS}
