"""One quantized matrix, or one stack of experts, as the checkpoint stores it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.packing import BITS, unpack_codes, words_per_row


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """Weights `[N, K]`, or experts `[E, N, K]`, as packed codes and the scale of each group along K.

    weight[n, i] = code[n, i] * scales[n, i // group_size]; symmetric, no zero point.

    `codes` int32 `[N, W]` or `[E, N, W]` with W = ceil(k*bits/32), packed as `kernels.packing` says. `scales`
    `[N, G]` or `[E, N, G]` in float16, bfloat16 or float32, G = k / group_size; `group_size` None is
    `channel`: G = 1. Raises ValueError where the parts do not belong together.
    """

    codes: Tensor
    scales: Tensor
    bits: int
    group_size: int | None
    k: int

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise ValueError(f"bits must be one of {BITS}, not {self.bits}")
        if self.codes.dtype != torch.int32:
            raise ValueError(f"codes must be packed int32 words, not {self.codes.dtype}")
        if self.scales.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            raise ValueError(f"scales must be float16, bfloat16 or float32, not {self.scales.dtype}")
        if self.codes.dim() not in (2, 3) or self.scales.dim() != self.codes.dim():
            raise ValueError("codes and scales must both be [N, ...] or both be [E, N, ...]")
        if self.group_size is not None and (self.group_size < 1 or self.k % self.group_size):
            raise ValueError(f"group size {self.group_size} does not divide K={self.k}")
        expected_codes = (*self.rows, words_per_row(self.k, self.bits))
        if tuple(self.codes.shape) != expected_codes:
            raise ValueError(f"codes are {list(self.codes.shape)}, expected {list(expected_codes)}")
        expected_scales = (*self.rows, self.groups)
        if tuple(self.scales.shape) != expected_scales:
            raise ValueError(f"scales are {list(self.scales.shape)}, expected {list(expected_scales)}")
        if self.codes.device != self.scales.device:
            raise ValueError(f"codes lie on {self.codes.device}, scales on {self.scales.device}")

    @property
    def rows(self) -> tuple[int, ...]:
        """(N,) of a matrix, (E, N) of a stack."""
        return tuple(self.codes.shape[:-1])

    @property
    def n(self) -> int:
        """Output features of the matrix, or of one expert."""
        return self.codes.shape[-2]

    @property
    def experts(self) -> int | None:
        """Experts of a stack; None for a matrix."""
        return self.codes.shape[0] if self.codes.dim() == 3 else None

    @property
    def groups(self) -> int:
        """Scales of one row."""
        return 1 if self.group_size is None else self.k // self.group_size

    @property
    def device(self) -> torch.device:
        return self.codes.device

    @property
    def bytes(self) -> int:
        """Stored bytes, codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def to(self, device: torch.device | str) -> "PackedMatrix":
        """The same matrix on another device."""
        return PackedMatrix(self.codes.to(device), self.scales.to(device), self.bits, self.group_size, self.k)

    def expert(self, index: int) -> "PackedMatrix":
        """One expert of a stack, as a view."""
        return PackedMatrix(self.codes[index], self.scales[index], self.bits, self.group_size, self.k)

    def row_slice(self, start: int, stop: int) -> "PackedMatrix":
        """Rows `start` to `stop` of a matrix, as a view."""
        return PackedMatrix(
            self.codes[start:stop], self.scales[start:stop], self.bits, self.group_size, self.k
        )

    def unpack(self) -> Tensor:
        """int8 codes `[N, K]` or `[E, N, K]`."""
        return unpack_codes(self.codes, self.bits, self.k)

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """The weights `[N, K]` or `[E, N, K]`; the product is in the wider of `dtype` and the scales'."""
        wide = torch.promote_types(dtype, self.scales.dtype)
        codes: Tensor = self.unpack().unflatten(-1, (self.groups, -1))
        return (codes * self.scales.to(wide)[..., None]).flatten(-2).to(dtype)
