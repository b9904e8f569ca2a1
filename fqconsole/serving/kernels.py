"""Which kernel of an engine takes which matrices, by GPU generation: read in vLLM 0.33.0 and SGLang 0.5.23.

Facts about those versions' own rules (`can_implement` of each kernel, in order of preference); the tests hold
the vLLM half against vLLM's code where that is at hand. Nothing here was run on a GPU.
"""

from dataclasses import dataclass

from fqconsole.serving.checkpoint import Joined, Servable
from fqconsole.serving.layout import Layout
from quantizer.scheme import Scheme

GENERATIONS = {"ampere": 80, "ada": 89, "hopper": 90, "blackwell": 100}  # compute capability × 10
# What vLLM tries first on each generation: on Hopper it has Humming before Marlin.
FAST = {
    "ampere": ("Marlin",),
    "ada": ("Marlin",),
    "hopper": ("Machete", "Humming", "Marlin"),
    "blackwell": ("Marlin", "FlashInfer"),
}
MARLIN_BITS, MARLIN_GROUPS = (4, 8), (None, 32, 64, 128)
MACHETE_GROUPS, MACHETE_TILE = (None, 64, 128), (128, 64)  # rows, columns of a GPU's piece
TRITON_GROUPS = (None, 32, 64, 128, 256)
MARLIN_EXPERT_HIDDEN = 128
FLASHINFER_EXPERTS = (4, 32)  # bits, group


@dataclass(frozen=True)
class KernelUse:
    """The matrices of one scheme that one set of kernels takes; `kernels` by generation."""

    scheme: Scheme
    matrices: int
    experts: bool
    kernels: dict[str, str]

    @property
    def fast(self) -> bool:
        """Whether each generation has it on a kernel that is tried first there."""
        return all(kernel in FAST[name] for name, kernel in self.kernels.items())


def vllm_kernel(part: Joined, layout: Layout, capability: int, *, half: bool = False) -> str:
    """The kernel vLLM takes for one GPU's piece; `half`: activations in float16, not bfloat16."""
    bits, group = part.scheme.bits, part.scheme.group_size
    if part.experts:
        return _vllm_experts(part, layout, capability)
    rows, columns = _piece(part, layout)
    whole_groups = group is None or columns % group == 0
    if bits in MARLIN_BITS:
        tiles = rows % MACHETE_TILE[0] == 0 and columns % MACHETE_TILE[1] == 0
        if capability == GENERATIONS["hopper"] and group in MACHETE_GROUPS and tiles:
            return "Machete"
        if capability == GENERATIONS["hopper"]:
            return "Humming"
        if group in MARLIN_GROUPS and whole_groups:
            return "Marlin"
        if half and group is not None and rows % (32 // bits) == 0:
            return "Exllama"
        if bits == 4 and group in TRITON_GROUPS and rows % 8 == 0 and whole_groups:
            return "Triton"
    return "Humming"


def _vllm_experts(part: Joined, layout: Layout, capability: int) -> str:
    """Channel-wise experts run on Marlin alone, and that has to be asked for on Hopper: see `commands`."""
    bits, group = part.scheme.bits, part.scheme.group_size
    if capability == GENERATIONS["hopper"] and group is not None:
        return "Humming"
    inner = part.rows if layout.expert_parallel else part.rows // layout.tensor
    marlin = part.columns % MARLIN_EXPERT_HIDDEN == 0 and (group is None or inner % group == 0)
    if bits in MARLIN_BITS and group in MARLIN_GROUPS and marlin:
        flash = capability == GENERATIONS["blackwell"] and (bits, group) == FLASHINFER_EXPERTS
        return "FlashInfer" if flash else "Marlin"
    if group is None:
        return ""
    return "Triton" if bits in MARLIN_BITS else "Humming"


def sglang_kernel(part: Joined, _layout: Layout, _capability: int, *, half: bool = False) -> str:
    """SGLang has one; empty where it takes nothing of this scheme."""
    del half
    taken = part.scheme.bits in MARLIN_BITS and part.scheme.group_size in MARLIN_GROUPS
    return "Marlin" if taken else ""


def kernel_uses(model: Servable, layout: Layout, engine: str) -> tuple[KernelUse, ...]:
    """All schemes with the kernels that take them, most matrices first."""
    kernel_of = vllm_kernel if engine == "vllm" else sglang_kernel
    half = model.description.dtype == "float16"
    counts: dict[tuple[Scheme, bool, tuple[str, ...]], int] = {}
    for part in model.joined:
        names = tuple(kernel_of(part, layout, number, half=half) for number in GENERATIONS.values())
        key = (part.scheme, bool(part.experts), names)
        counts[key] = counts.get(key, 0) + part.matrices
    return tuple(
        KernelUse(scheme, count, experts, dict(zip(GENERATIONS, names, strict=True)))
        for (scheme, experts, names), count in sorted(counts.items(), key=lambda item: -item[1])
    )


def _piece(part: Joined, layout: Layout) -> tuple[int, int]:
    """Rows and columns of one GPU's part of a matrix."""
    if part.reads_spread:
        return part.rows, part.columns // layout.tensor
    return part.rows // layout.tensor, part.columns
