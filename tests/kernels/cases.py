# ruff: noqa: PLR0917 — a case has as many parts as it has
"""Random packed matrices, and the error that the kernels are held to."""

import torch

from kernels import PackedMatrix
from kernels.lane_layout import LaneMatrix, lane_shapes
from kernels.packing import pack_codes

# Half a unit in the last place of the output is 4.9e-4 and 3.9e-3 at worst; where a scale meets the
# weights in 16 bits, their rounding comes on top.
TOLERANCE = {torch.float16: 5e-4, torch.bfloat16: 4e-3, torch.float32: 2e-6}


def random_matrix(
    shape: tuple[int, ...],
    bits: int,
    group_size: int | None,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    device: str = "cpu",
) -> PackedMatrix:
    """Codes over the whole range, positive scales of one order of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    half = 1 << (bits - 1)
    codes = torch.randint(-half, half, shape, generator=generator, dtype=torch.int8)
    groups = 1 if group_size is None else shape[-1] // group_size
    scales = torch.rand((*shape[:-1], groups), generator=generator) * 0.01 + 0.002
    return PackedMatrix(pack_codes(codes, bits), scales.to(dtype), bits, group_size, shape[-1]).to(device)


def random_rows(
    shape: tuple[int, ...], dtype: torch.dtype, seed: int = 1, device: str = "cpu"
) -> torch.Tensor:
    """Normal activations."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device, dtype)


def relative_error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """‖out - reference‖ / ‖reference‖; infinite where anything is not finite, 0 for an exact result."""
    if not torch.isfinite(out).all():
        return float("inf")
    difference = float((out.double() - reference).norm())
    return difference / float(reference.norm()) if difference else 0.0


def lanes_without_memory(
    bits: int,
    group_size: int | None,
    n: int,
    k: int,
    dtype: torch.dtype = torch.float16,
    experts: int = 0,
) -> LaneMatrix:
    """A matrix, or a stack of `experts`, in lane order of which only the shapes exist."""
    stack = (experts,) if experts else ()
    shapes = lane_shapes(bits, group_size, n, k)
    words, scales = (torch.empty(stack + shape, device="meta", dtype=torch.int32) for shape in shapes)
    return LaneMatrix(words, scales, bits, group_size, n, k, dtype)
