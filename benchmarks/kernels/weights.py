"""Random quantized weights, and the check that a product of them is right."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import kernels
from benchmarks.kernels.layers import Scheme
from kernels.packing import pack_codes

STD = 0.02  # of the dequantized weights: what a trained model has
CHECKED_ROWS = 32  # of x: enough to meet every part of every weight, cheap at any size


@dataclass(frozen=True)
class Weights:
    """One matrix `[N, K]`, unpacked, so that every peer can pack it as it likes.

    `codes` int8 `[N, K]`; `scales` `[N, G]` in the activations' dtype; weight = code * scale.
    """

    codes: Tensor
    scales: Tensor
    scheme: Scheme

    @property
    def n(self) -> int:
        return self.codes.shape[-2]

    @property
    def k(self) -> int:
        return self.codes.shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        return self.scales.dtype

    @property
    def zero(self) -> int:
        """What is added to a code to store it without a sign."""
        return 1 << (self.scheme.bits - 1)

    def packed(self) -> kernels.PackedMatrix:
        """As a checkpoint stores it."""
        words = pack_codes(self.codes, self.scheme.bits)
        return kernels.PackedMatrix(words, self.scales, self.scheme.bits, self.scheme.group_size, self.k)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """`[N, K]`, the product of code and scale in `dtype`."""
        groups = self.codes.unflatten(-1, (self.scales.shape[-1], -1))
        return (groups * self.scales.to(dtype)[..., None]).flatten(-2)


def random_weights(
    n: int,
    k: int,
    scheme: Scheme,
    dtype: torch.dtype,
    device: str,
    *,
    seed: int = 0,
    experts: int | None = None,
) -> Weights:
    """Codes uniform over the symmetric range, without the lowest code: some peers are faster without it."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (n, k) if experts is None else (experts, n, k)
    most = (1 << (scheme.bits - 1)) - 1
    codes = torch.randint(-most, most + 1, shape, dtype=torch.int8, device=device, generator=generator)
    groups = k // (scheme.group_size or k)
    spread = torch.rand((*shape[:-1], groups), device=device, generator=generator) + 0.5
    scale = STD * 12**0.5 / 2**scheme.bits  # codes have a standard deviation of 2^bits / sqrt(12)
    return Weights(codes, (spread * scale).to(dtype), scheme)


def random_rows(rows: int, k: int, dtype: torch.dtype, device: str, *, seed: int = 1) -> Tensor:
    """x `[rows, k]`, standard normal."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(rows, k, device=device, generator=generator).to(dtype)


def relative_error(out: Tensor, reference: Tensor) -> float:
    """‖reference − out‖ / ‖reference‖ in float64."""
    reference = reference.double()
    return float((out.double() - reference).norm() / reference.norm())


def checked_error(multiply: Callable[[Tensor], Tensor], x: Tensor, weights: Tensor) -> float:
    """Relative error of `multiply(x)`, on rows spread over x, against `weights` [N, K] in float32.

    Float32 itself is off by some 1e-6, far below any bound here.
    """
    out = multiply(x)
    place = torch.linspace(0, x.shape[0] - 1, min(CHECKED_ROWS, x.shape[0]), device=x.device).long().unique()
    return relative_error(out[place], x[place].float() @ weights.float().mT)
