"""The codes of torch's int4 operator for the CPU as 16-bit weights again, some blocks of outputs at a time.

The operator multiplies in float32. With many rows of x the processor's own 16-bit matmul is faster, even
after the weights were dequantized for it. How the operator lays out the codes of a block (64 outputs with
AVX-512, 32 with AVX2), for each k one after the other:

    16 bytes      outputs 0 … 15 in the low nibbles, those half a block further in the high ones
    16 bytes      outputs 16 … 31, the same (only with AVX-512)

torch promises no layout, so it is looked at once for each matrix, in its first block.

A slice is dequantized in as few passes as torch's operations allow, the early ones on half a byte a weight,
the late ones along whole rows of the slice. A byte b holds low + 16 high:

    16 (low - 8)     = 16 b + 128                  in 8 bits, where what passes 256 is lost
    16 (high - 8)    = (b without low) xor 128

read as signed bytes; the scale is divided by 16, which is exact. For 8-bit codes the operator has K doubled,
first 16 high + 128, which is now most of the code, then low, which only has to be put into its empty nibble.
"""

from math import prod

import torch
from torch import Tensor

from kernels.prepared import multiplied_in, rows_of_slice

BYTES = 16  # that belong together
MANY_ROWS = 1024  # with more, a slice of twice the size pays: x is walked through half as often
HIGH = -0x0F0F0F0F0F0F0F10  # 0xF0 in each of eight bytes, as a signed number
FLIP = -0x7F7F7F7F7F7F7F80  # 0x80 in each of eight bytes


def outputs_of_block(codes: Tensor, stored: Tensor) -> int | None:
    """Outputs that a block of the operator's `codes` has, uint8 `[N, K/2]`; None where the layout is another,
    or blocks don't come out even. `stored` uint8 `[N, K]` is what was laid out.
    """
    n = len(stored)
    for block in (64, 32):
        if n % block == 0:
            first = _signed(_blocks(codes, block)[:1].transpose(0, 1).clone(), 1, _Room())
            if torch.equal(first.flatten(1).mT, (stored[:block] ^ 8).view(torch.int8) << 4):
                return block
    return None


def multiply_blocks(x: Tensor, codes: Tensor, scales: Tensor, block: int, copies: int = 1) -> Tensor:
    """x bfloat16 `[M, K]` times code * scale → bfloat16 `[M, N]`, a slice in the caches at a time.

    In float32 where the CPU can't multiply bfloat16.
    codes: uint8 `[N, padded K/2 * copies]` in blocks of `block` outputs, 8-bit ones in 2 copies; each group
    may end with codes that x has nothing for. scales: bfloat16 `[groups, N]`.
    """
    k, narrow = x.shape[1], x.dtype
    x = x.to(multiplied_in(narrow, "cpu"))
    blocks = _blocks(codes, block)
    groups = copies * len(scales)
    by_channel = len(scales) == 1  # then the few outputs are scaled instead of the many weights
    scales = scales.contiguous()  # or nothing that takes them is made of vector instructions
    if copies == 1:
        scales = scales * 0.0625
    out = x.new_empty((x.shape[0], len(codes)))
    rows = rows_of_slice(k, "cpu") * (2 if x.shape[0] > MANY_ROWS else 1)
    room, first = _Room(), 0
    for part in blocks.split(max(1, rows // block)):
        beside = room.take("bytes", (copies * k, len(part), block // 2), codes.dtype)
        met = part.transpose(0, 1).unflatten(0, (groups, -1))[:, : copies * k // groups]
        beside.view(met.shape).copy_(met)
        signed = _signed(beside, copies, room)
        weights = room.take("weights", (k, len(part) * block), x.dtype)
        weights.view(signed.shape).copy_(signed)
        outputs = slice(first, first + weights.shape[1])
        first = outputs.stop
        if not by_channel:
            weights.view(len(scales), -1, weights.shape[1]).mul_(scales[:, None, outputs])
        torch.mm(x, weights, out=out[:, outputs])
    return (out.mul_(scales) if by_channel else out).to(narrow)


class _Room:
    """The memory of one product, for all its slices: fresh memory costs as much as what is done in it."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor with anything in it; a first slice is the largest."""
        held = self._held.setdefault(name, torch.empty(0, dtype=dtype))
        size = prod(shape)
        if held.numel() < size:
            held = self._held[name] = torch.empty(size, dtype=dtype)
        return held[:size].view(shape)


def _blocks(codes: Tensor, block: int) -> Tensor:
    """The operator's codes seen as uint8 `[N / block, K, block / 2]`."""
    n, half = codes.shape
    return codes.view(n // block, 2 * half, block // 2)


def _signed(beside: Tensor, copies: int, room: _Room) -> Tensor:
    """Bytes `[copies * K, blocks, block / 2]`, which are spoiled → int8 `[K, blocks, 2, block / 2]`: 8-bit
    codes where there are two copies, else 16 * (code - 8).
    """
    upper = beside[: len(beside) // copies]
    low = room.take("low", tuple(upper.shape), beside.dtype)
    torch.add(beside.new_tensor(128), upper, alpha=16, out=low)
    _eights(upper).bitwise_and_(HIGH).bitwise_xor_(FLIP)
    if copies == 2:
        lower = beside[len(upper) :]
        nibbles = room.take("nibbles", tuple(upper.shape), beside.dtype)
        low.bitwise_or_(torch.bitwise_and(lower, 15, out=nibbles))
        upper.bitwise_or_(torch.bitwise_right_shift(lower, 4, out=nibbles))
    codes = room.take("codes", (*upper.shape[:2], 2, upper.shape[2]), beside.dtype)
    return torch.stack((low, upper), 2, out=codes).view(torch.int8)


def _eights(x: Tensor) -> Tensor:
    """Eight bytes at a time, seen as one number."""
    return x.view(torch.int64)
