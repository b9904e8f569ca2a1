# ruff: noqa: PLR0917 — a case has as many parts as it has
"""Lane order: every code and scale where the formula says, padding that adds nothing, exactly reversible."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import PackedMatrix
from kernels.lane_layout import LaneMatrix, from_lanes, pair_of, to_lanes
from kernels.packing import BITS
from tests.kernels.cases import random_matrix

GROUPS = (None, 16, 32, 48, 64, 128, 256, 512)
DTYPES = (torch.float16, torch.bfloat16)


def stored_by_loop(lanes: LaneMatrix, tile: int, step: int, row: int, k: int) -> int:
    """The code (plus half) of one row of a tile and one column of a step, found by the formula alone."""
    bits, pair = lanes.bits, lanes.pair
    e, h, b = k % 2, k // 2 % 2, k // 4 % pair
    t, q = k // (4 * pair) % 4, k // (16 * pair)
    plane, slot, lane = pair * q + b, 2 * (row // 8) + h, 4 * (row % 8) + t

    def field(j: int) -> int:
        if bits == 3:
            place = (slot * 32 + lane) * 2 + j if j < 2 else 256 + slot * 32 + lane
        else:
            place = (slot * 32 + lane) * 4 + j
        return (int(lanes.words[tile, step, place]) >> (16 * e)) & 0xFFFF

    if bits == 3 and plane == 15:
        return sum((field(j) >> 15) << j for j in range(3))
    count = 16 // bits
    return (field(plane // count) >> (bits * (plane % count))) & ((1 << bits) - 1)


def scales_of(word: int, dtype: torch.dtype) -> list[float]:
    return torch.tensor([word], dtype=torch.int32).view(dtype).tolist()


def case(bits: int, group_size: int | None, n: int, groups: int, k: int, seed: int) -> PackedMatrix:
    k = k if group_size is None else groups * group_size
    return random_matrix((n, k), bits, group_size, torch.bfloat16, seed)


matrices = st.builds(
    case, st.sampled_from(BITS), st.sampled_from(GROUPS), st.integers(1, 40), st.integers(1, 9),
    st.integers(1, 700), st.integers(0, 99),
)  # fmt: skip


@settings(deadline=None, max_examples=80)
@given(packed=matrices, dtype=st.sampled_from(DTYPES))
def test_round_trip_is_exact(packed, dtype):
    lanes = to_lanes(packed, dtype)
    again = from_lanes(lanes)
    assert torch.equal(again.codes, packed.codes)
    assert torch.equal(again.scales, packed.scales.to(dtype))
    assert (again.bits, again.group_size, again.k) == (packed.bits, packed.group_size, packed.k)


@settings(deadline=None, max_examples=12)
@given(packed=matrices)
def test_each_code_and_scale_stands_where_the_formula_says(packed):
    lanes = to_lanes(packed, torch.bfloat16)
    codes, step, half = packed.unpack(), lanes.step, 1 << (packed.bits - 1)
    expected = torch.full((lanes.tiles * 16, lanes.steps * step), half)
    expected[: packed.n, : packed.k] = codes.long() + half
    rows = sorted({0, 9, 15, packed.n - 1, lanes.tiles * 16 - 1})
    for row in rows:
        found = [
            stored_by_loop(lanes, row // 16, s, row % 16, k) for s in range(lanes.steps) for k in range(step)
        ]
        assert found == expected[row].tolist()
        for s in range(lanes.scales.shape[1]):
            for i in range(lanes.scales_per_step):
                word = int(lanes.scales[row // 16, s, row % 8, i])
                scale = scales_of(word, torch.bfloat16)[row % 16 // 8]
                k = s * step + i * (lanes.scale_group or 0)
                inside = row < packed.n and k < packed.k
                group = 0 if packed.group_size is None else k // packed.group_size
                assert scale == (float(packed.scales[row, group]) if inside else 0.0)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group_size", [None, 48, 64])
def test_a_stack_is_its_experts(bits, group_size):
    stack = random_matrix((3, 21, 288 if group_size == 48 else 320), bits, group_size, torch.float16)
    lanes = to_lanes(stack, torch.float16)
    assert lanes.experts == 3
    for number in range(3):
        one = to_lanes(stack.expert(number), torch.float16)
        assert one.experts is None
        assert torch.equal(lanes.expert(number).words, one.words)
        assert torch.equal(lanes.expert(number).scales, one.scales)
    again = from_lanes(lanes)
    assert torch.equal(again.codes, stack.codes)
    assert torch.equal(again.scales, stack.scales)


def test_chunks_do_not_show(monkeypatch):
    packed = random_matrix((70, 320), 3, 32)
    whole = to_lanes(packed, torch.bfloat16)
    monkeypatch.setattr("kernels.lane_layout.CHUNK", 16 * 512)
    assert torch.equal(to_lanes(packed, torch.bfloat16).words, whole.words)
    assert torch.equal(from_lanes(whole).codes, packed.codes)


def test_what_it_holds():
    lanes = to_lanes(random_matrix((64, 512), 3, 64), torch.bfloat16)
    assert (lanes.tiles, lanes.steps, lanes.planes, lanes.step, lanes.pair) == (4, 2, 16, 256, 2)
    assert (lanes.scale_group, lanes.scales_per_step) == (64, 4)
    assert lanes.bytes * 8 / (64 * 512) == 3.25
    assert to_lanes(random_matrix((64, 512), 8, 256), torch.bfloat16).scale_group == 128
    channel = to_lanes(random_matrix((64, 500), 8, None), torch.float16)
    assert (channel.scales.shape, channel.scale_group, channel.step) == ((4, 1, 8, 1), None, 128)
    assert [pair_of(size) for size in (None, 16, 32, 48, 64)] == [2, 1, 2, 1, 2]


def test_refusals():
    with pytest.raises(ValueError, match="multiple of 16"):
        to_lanes(random_matrix((16, 72), 4, 24), torch.float16)
    packed = random_matrix((16, 256), 4, 64)
    with pytest.raises(ValueError, match="float16 or bfloat16"):
        to_lanes(packed, torch.float32)
    lanes = to_lanes(packed, torch.float16)
    with pytest.raises(ValueError, match="expected contiguous int32"):
        LaneMatrix(lanes.words, lanes.scales, 4, 64, 16, 512, torch.float16)
