"""Packing codes into 32-bit words, bit for bit as compressed-tensors' `pack-quantized` stores them.

A row of K codes of b bits becomes ceil(K*b/32) int32 words. Code q is stored as q + 2^(b-1) (so 0 is the
smallest code), element i at bit i*b of its row, least significant bit first, crossing words; the last word is
filled with zeros:

    b = 4   word 0: | q0 q1 q2 q3 q4 q5 q6 q7 |                     8 codes = 1 word
    b = 8   word 0: | q0   q1   q2   q3       |                     4 codes = 1 word
    b = 3   word 0: | q0 ... q9, low 2 bits of q10 |                32 codes = 3 words
            word 1: | top bit of q10, q11 ... q20, low bit of q21 |
            word 2: | top 2 bits of q21, q22 ... q31 |

Both directions walk over the codes of one such block and treat all blocks at once, so the temporaries are a
fraction 1/4, 1/8 or 1/32 of the codes and every step is one vectorised operation on any device.
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
    block_codes, block_words = block_shape(bits)
    half = 1 << (bits - 1)
    if codes.dtype != torch.int8:
        raise ValueError(f"codes must be int8, not {codes.dtype}")
    if codes.numel() and not -half <= int(codes.min()) <= int(codes.max()) < half:
        raise ValueError(f"a code lies outside [{-half}, {half - 1}]")
    k = codes.shape[-1]
    blocks = math.ceil(k / block_codes)
    # A missing code of the last block is stored as zero bits, which is the code -half.
    padded = torch.nn.functional.pad(codes, (0, blocks * block_codes - k), value=-half)
    padded = padded.unflatten(-1, (blocks, block_codes))
    words = codes.new_zeros((*codes.shape[:-1], blocks, block_words), dtype=torch.int32)
    for i in range(block_codes):
        stored = padded[..., i].to(torch.int32) + half
        word, bit = divmod(i * bits, WORD_BITS)
        words[..., word] |= stored << bit
        if bit + bits > WORD_BITS:
            words[..., word + 1] |= stored >> (WORD_BITS - bit)
    return words.flatten(-2)[..., : words_per_row(k, bits)].contiguous()


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
    padded = padded.unflatten(-1, (blocks, block_words))
    codes = packed.new_empty((*packed.shape[:-1], blocks, block_codes), dtype=torch.int8)
    for i in range(block_codes):
        word, bit = divmod(i * bits, WORD_BITS)
        low_bits = min(bits, WORD_BITS - bit)
        # The shift is arithmetic; the mask drops the copies of the sign bit.
        stored = (padded[..., word] >> bit) & ((1 << low_bits) - 1)
        if low_bits < bits:
            stored |= (padded[..., word + 1] & ((1 << (bits - low_bits)) - 1)) << low_bits
        codes[..., i] = stored - half
    return codes.flatten(-2)[..., :k].contiguous()
