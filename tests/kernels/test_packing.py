"""Packing: equal to an explicit loop over bits, equal to compressed-tensors, reversible."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.packing import BITS, block_shape, pack_codes, unpack_codes, words_per_row


def random_codes(shape: tuple[int, ...], bits: int, seed: int = 0) -> torch.Tensor:
    half = 1 << (bits - 1)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-half, half, shape, generator=generator, dtype=torch.int8)


def packed_by_loop(row: list[int], bits: int) -> list[int]:
    """The definition: element i at bit i*bits of one long integer, cut into signed 32-bit words."""
    half = 1 << (bits - 1)
    stream = sum((code + half) << (i * bits) for i, code in enumerate(row))
    words = [(stream >> (32 * j)) & 0xFFFFFFFF for j in range(words_per_row(len(row), bits))]
    return [word - (1 << 32) if word >= 1 << 31 else word for word in words]


shapes = st.tuples(st.integers(1, 5), st.integers(1, 200))


@settings(deadline=None, max_examples=60)
@given(shape=shapes, bits=st.sampled_from(BITS), seed=st.integers(0, 999))
def test_pack_equals_the_definition(shape, bits, seed):
    codes = random_codes(shape, bits, seed)
    packed = pack_codes(codes, bits)
    assert packed.dtype == torch.int32
    assert packed.tolist() == [packed_by_loop(row, bits) for row in codes.tolist()]


@settings(deadline=None, max_examples=60)
@given(shape=shapes, bits=st.sampled_from(BITS), seed=st.integers(0, 999))
def test_unpack_reverses_pack(shape, bits, seed):
    codes = random_codes(shape, bits, seed)
    restored = unpack_codes(pack_codes(codes, bits), bits, shape[-1])
    assert restored.dtype == torch.int8
    assert torch.equal(restored, codes)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("k", [32, 33, 37, 64, 100, 256])
def test_bit_equal_to_compressed_tensors(bits, k):
    helpers = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    codes = random_codes((5, k), bits)
    theirs = helpers.pack_to_int32(codes, bits)
    assert torch.equal(pack_codes(codes, bits), theirs)
    assert torch.equal(unpack_codes(theirs, bits, k), codes)


@pytest.mark.parametrize("bits", BITS)
def test_every_code_survives_in_every_place(bits):
    half = 1 << (bits - 1)
    block_codes, _ = block_shape(bits)
    values = torch.arange(-half, half, dtype=torch.int8)
    for place in range(block_codes):
        codes = torch.zeros(len(values), block_codes, dtype=torch.int8)
        codes[:, place] = values
        assert torch.equal(unpack_codes(pack_codes(codes, bits), bits, block_codes), codes)


def test_stacks_keep_their_leading_dimensions():
    codes = random_codes((3, 4, 70), 3)
    packed = pack_codes(codes, 3)
    assert packed.shape == (3, 4, 7)
    assert torch.equal(packed[1, 2], pack_codes(codes[1, 2], 3))
    assert torch.equal(unpack_codes(packed, 3, 70), codes)


def test_views_pack_like_their_copies():
    codes = random_codes((70, 6), 4).t()
    assert torch.equal(pack_codes(codes, 4), pack_codes(codes.contiguous(), 4))


def test_refusals():
    with pytest.raises(ValueError, match="bits"):
        pack_codes(random_codes((1, 8), 4), 5)
    with pytest.raises(ValueError, match="outside"):
        pack_codes(torch.tensor([[8]], dtype=torch.int8), 4)
    with pytest.raises(ValueError, match="int8"):
        pack_codes(torch.zeros(1, 8), 4)
    with pytest.raises(ValueError, match="words"):
        unpack_codes(torch.zeros(1, 2, dtype=torch.int32), 4, 8)
    with pytest.raises(ValueError, match="int32"):
        unpack_codes(torch.zeros(1, 1), 4, 8)
