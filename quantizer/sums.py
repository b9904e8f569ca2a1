"""Sums along rows that are the same to the last bit on every device, and one that spares a GPU's memory."""

import torch
from torch import Tensor

CHUNK = 64  # terms that `exact_sum` adds in any order
EXPONENT = 0x7F800000  # of a float32's bits
ROUNDER = 1.5 * 2**23  # added and taken away again, it leaves no bit below 1 of a float32


def ordered_sum(values: Tensor) -> Tensor:
    """The sum over the last dimension, `[N, G]` of `[N, G, K/G]`, the same to the last bit on every device.

    Halves are added until one number is left; `values` are used up.
    """
    left = values.shape[-1]
    while left > 1:
        half = left // 2
        values[..., :half] += values[..., left - half : left]
        left -= half
    return values[..., 0].clone()  # the room of `values` is used again


def exact_sum(values: Tensor) -> Tensor:
    """As `ordered_sum`, faster, for values of which any CHUNK add up exactly; they stay as they are."""
    length = values.shape[-1]
    chunk = next(size for size in range(min(CHUNK, length), 0, -1) if length % size == 0)
    if chunk == length:
        return values.sum(dim=-1)
    return ordered_sum(values.reshape(*values.shape[:-1], length // chunk, chunk).sum(dim=-1))


def on_grid(values: Tensor, largest: Tensor, bits: int) -> Tensor:
    """`values` `[…, K]`, in place, rounded to a grid of 2^-bits times the power of two above `largest` `[…]`,
    the magnitude that none of them exceeds.
    """
    # The exponent's bits alone are the power of two below; no function of a library may differ by a bit.
    below = (largest.float().view(torch.int32) & EXPONENT).view(torch.float32)
    rounder = (below * (2 * ROUNDER / 2**bits)).unsqueeze(-1)
    return values.add_(rounder).sub_(rounder)


def weighted_sum(squares: Tensor, weights: Tensor) -> Tensor:
    """Σ of float32 squares `[N, K]`, used up, times the weights `[K]` of their columns: float64, one number.

    No matrix product: cuBLAS would keep 32 MiB of a GPU for each thread and stream from its first one on.
    """
    return squares.mul_(weights).sum(dim=1).sum(dtype=torch.float64)
