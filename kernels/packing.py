"""Packing codes into 32-bit words, bit for bit as compressed-tensors' `pack-quantized` stores them.

A row of K codes of b bits becomes ceil(K*b/32) int32 words. Code q is stored as q + 2^(b-1) (so 0 is the
smallest code), element i at bit i*b of its row, least significant bit first, crossing words; the last word is
filled with zeros:

    b = 4   word 0: | q0 q1 q2 q3 q4 q5 q6 q7 |                     8 codes = 1 word
    b = 8   word 0: | q0   q1   q2   q3       |                     4 codes = 1 word
    b = 3   word 0: | q0 ... q9, low 2 bits of q10 |                32 codes = 3 words
            word 1: | top bit of q10, q11 ... q20, low bit of q21 |
            word 2: | top 2 bits of q21, q22 ... q31 |

Packing folds neighbours together in lanes of 16 and 64 bits, unpacking takes them apart: every step is one
vectorised operation over all codes, on any device. Both read words as bytes, so they need a little-endian
machine, as safetensors does.
"""

import math

import torch
from torch import Tensor

BITS = (8, 4, 3)
WORD_BITS = 32


def words_per_row(k: int, bits: int) -> int:
    """32-bit words that hold `k` codes of `bits` bits."""
    return math.ceil(k * bits / WORD_BITS)


def block_shape(bits: int) -> tuple[int, int]:
    """(codes, words) of the smallest run of whole codes that fills whole words: (4, 1), (8, 1) or (32, 3)."""
    if bits not in BITS:
        raise ValueError(f"bits must be one of {BITS}, not {bits}")
    words = bits // math.gcd(bits, WORD_BITS)
    return words * WORD_BITS // bits, words


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """int8 codes `[..., K]` in [-2^(bits-1), 2^(bits-1)-1] → int32 words `[..., ceil(K*bits/32)]`.

    Raises ValueError for other bits, another dtype or a code out of range.
    """
    half = 1 << (bits - 1)
    if codes.dtype != torch.int8:
        raise ValueError(f"codes must be int8, not {codes.dtype}")
    if bits < 8 and codes.numel() and not -half <= int(codes.min()) <= int(codes.max()) < half:
        raise ValueError(f"a code lies outside [{-half}, {half - 1}]")
    return pack_in_range(codes, bits)


def pack_in_range(codes: Tensor, bits: int) -> Tensor:
    """`pack_codes` of int8 codes that are known to lie in their range: a GPU is not waited for."""
    block_codes, _ = block_shape(bits)
    half = 1 << (bits - 1)
    k = codes.shape[-1]
    whole = math.ceil(k / block_codes) * block_codes
    stored = codes + half if bits < 8 else codes ^ -half  # an int8 holds all but +128
    if whole > k:  # a missing code of the last block is stored as zero bits
        stored = torch.nn.functional.pad(stored, (0, whole - k))
    stored = stored.contiguous()
    if bits == 8:
        words = stored.view(torch.int32)
    elif bits == 4:
        words = _fold(stored.view(torch.int16), 4).to(torch.uint8).view(torch.int32)
    else:
        words = _pack_threes(stored)
    return words[..., : words_per_row(k, bits)].contiguous()


def _pack_threes(stored: Tensor) -> Tensor:
    """uint3 in bytes `[..., 32 n]` → int32 words `[..., 3 n]`: 2, 4, 8 neighbours become 6, 12, 24 bits."""
    runs = stored.view(torch.int64)
    runs = _fold(runs, 5) & 0x003F003F003F003F
    runs = _fold(runs, 10) & 0x00000FFF00000FFF
    runs = (_fold(runs, 20) & 0xFFFFFF).unflatten(-1, (-1, 4))  # 24 bits each: 4 runs fill 3 words
    a, b, c, d = runs.unbind(-1)
    return torch.stack((a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8), dim=-1).to(torch.int32).flatten(-2)


def _fold(lanes: Tensor, shift: int) -> Tensor:
    """Each lane's upper half moved down beside its lower half."""
    folded = lanes >> shift
    folded |= lanes
    return folded


def unpack_codes(packed: Tensor, bits: int, k: int) -> Tensor:
    """int32 words `[..., ceil(k*bits/32)]` → int8 codes `[..., k]`; the inverse of `pack_codes`.

    Raises ValueError for other bits, another dtype or a word count that does not belong to `k`.
    """
    block_codes, block_words = block_shape(bits)
    if packed.dtype != torch.int32:
        raise ValueError(f"packed words must be int32, not {packed.dtype}")
    if packed.shape[-1] != words_per_row(k, bits):
        raise ValueError(
            f"{k} codes of {bits} bits are {words_per_row(k, bits)} words, not {packed.shape[-1]}"
        )
    if bits == 8:  # the bytes are the codes, offset by 128: flipping the top bit subtracts it
        return (packed.contiguous().view(torch.uint8)[..., :k] ^ 128).view(torch.int8)
    half = 1 << (bits - 1)
    if bits == 4:  # each byte holds two codes, the first one below
        pairs = packed.contiguous().view(torch.uint8)
        stored = torch.stack((pairs & 15, pairs >> 4), dim=-1).flatten(-2)[..., :k]
        return (stored - half).view(torch.int8)  # uint8 wraps round below zero
    blocks = math.ceil(k / block_codes)
    padded = torch.nn.functional.pad(packed, (0, blocks * block_words - packed.shape[-1]))
    a, b, c = (padded.unflatten(-1, (blocks, block_words)).to(torch.int64) & 0xFFFFFFFF).unbind(-1)
    runs = torch.stack(
        (a & 0xFFFFFF, a >> 24 | (b & 0xFFFF) << 8, b >> 16 | (c & 0xFF) << 16, c >> 8), dim=-1
    )
    runs = (runs | runs << 20) & 0x00000FFF00000FFF
    runs = (runs | runs << 10) & 0x003F003F003F003F
    runs = (runs | runs << 5) & 0x0707070707070707
    stored = runs.flatten(-2).view(torch.int8)[..., :k]
    return stored - half
