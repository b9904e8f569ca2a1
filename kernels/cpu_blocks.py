"""The codes of torch's int4 operator for the CPU as 16-bit weights again, some blocks of outputs at a time.

The operator multiplies in float32. With many rows of x the processor's own 16-bit matmul is faster, even
after the weights were dequantized for it. How the operator lays out the codes of a block (64 outputs with
AVX-512, 32 with AVX2), for each k one after the other:

    16 bytes      outputs 0 … 15 in the low nibbles, those half a block further in the high ones
    16 bytes      outputs 16 … 31, the same (only with AVX-512)

torch promises no layout, so it is looked at once for each matrix, in its first block.
"""

import torch
from torch import Tensor

from kernels.prepared import rows_of_slice

BYTES = 16  # that belong together


def outputs_of_block(codes: Tensor, stored: Tensor) -> int | None:
    """Outputs that a block of the operator's `codes` has, uint8 `[N, K/2]`; None where the layout is another,
    or blocks don't come out even. `stored` uint8 `[N, K]` is what was laid out.
    """
    n = len(stored)
    for block in (64, 32):
        if n % block == 0 and torch.equal(_unblocked(_blocks(codes, block)[:1])[0].mT, stored[:block]):
            return block
    return None


def multiply_blocks(x: Tensor, codes: Tensor, scales: Tensor, group: int, block: int) -> Tensor:
    """x bfloat16 `[M, K]` times (code - 8) * scale → bfloat16 `[M, N]`, a slice in the caches at a time.

    codes: uint8 `[N, K/2]`, in blocks of `block` outputs; scales: bfloat16 `[K / group, N]`.
    """
    blocks = _blocks(codes, block)
    count, k = blocks.shape[:2]
    # Side by side in memory, or the product below is not made by vector instructions.
    each = scales.reshape(k // group, count, 1, block).transpose(0, 1).contiguous()
    out = x.new_empty((x.shape[0], count * block))
    step = max(1, rows_of_slice(k, "cpu") // block)
    for first in range(0, count, step):
        part = slice(first, first + step)
        weights = _unblocked(blocks[part]).view(torch.int8).sub_(8).to(x.dtype)
        weights.view(-1, k // group, group, block).mul_(each[part])
        beside = weights.transpose(0, 1).reshape(k, -1)  # one wide matmul is faster than many of a block
        out[:, first * block : (first + step) * block] = x @ beside
    return out


def _blocks(codes: Tensor, block: int) -> Tensor:
    """The operator's codes seen as uint8 `[N / block, K, block / 32, 16]`."""
    n, half = codes.shape
    return codes.view(n // block, 2 * half, block // (2 * BYTES), BYTES)


def _unblocked(blocks: Tensor) -> Tensor:
    """Blocks as above → codes uint8 `[blocks, K, block]`."""
    return torch.stack((blocks & 15, blocks >> 4), 2).flatten(2)
