"""The PTX texts that unpack, lane by lane: every register holds the two weights that lane order says."""

import numpy as np
import pytest
import torch

from kernels.lane_layout import LaneMatrix, from_lanes, to_lanes
from kernels.packing import unpack_codes
from kernels.wide_unpack import BLOCK_PLANES, PLANES, block_text, scales_text
from tests.kernels.cases import random_matrix
from tests.kernels.ptx import MASK, run_ptx

KINDS = {"fp16": torch.float16, "bf16": torch.bfloat16}
# Groups and how many scales a step of 256 columns (128 for 8 bits) has with them; 0: one a row.
SCHEMES = [
    (bits, group_size, scales if bits != 8 else scales // 2)
    for bits in (8, 4, 3)
    for group_size, scales in ((None, 0), (32, 8), (64, 4), (96, 8), (128, 2), (256, 1))
    if bits != 8 or group_size != 256
] + [(8, 256, 1)]


def one_step(bits: int, group_size: int | None, dtype: torch.dtype) -> LaneMatrix:
    """A tile of 16 rows in lane order, of which step 1 is looked at; fewer columns than whole steps."""
    k = {None: 500, 96: 480}.get(group_size, 512)
    return to_lanes(random_matrix((16, k), bits, group_size, dtype, seed=bits), dtype)


def words_of(lanes: LaneMatrix, step: int, slot: int, lane: int) -> list[int]:
    """The words that a lane holds of one fragment register, as `kernels.lane_layout` orders them."""
    words = [word & MASK for word in lanes.words[0, step].tolist()]
    place = 32 * slot + lane
    if lanes.bits == 3:
        return [*words[2 * place : 2 * place + 2], words[256 + place]]
    return words[4 * place : 4 * place + 4]


def registers_in(
    lanes: LaneMatrix, step: int, lane: int, scales: int, block: int, *, spread: bool
) -> dict[str, int]:
    """The inputs of a block, in the places that its docstring gives."""
    inputs = {f"${place}": 0 for place in range(16, 40)}
    for register in range(4):
        r8, h = register % 2, register // 2
        for word, value in enumerate(words_of(lanes, step, 2 * r8 + h, lane)):
            inputs[f"${16 + 8 * (word // 2) + word % 2 + 2 * register}"] = value
    if not scales:
        return inputs
    group = lanes.scales[0, step, lane // 4].tolist()
    if not spread:
        return inputs | {f"${32 + i}": word & MASK for i, word in enumerate(group)}
    blocks = PLANES[lanes.bits] // BLOCK_PLANES
    for half in range(2):
        word = group[(2 * block + half) * scales // (2 * blocks)]
        for row, scale in enumerate((word & 0xFFFF, word >> 16 & 0xFFFF)):
            inputs[f"${32 + 4 * half + row}"] = scale << 16 | scale
    return inputs


def k_in_step(plane: int, t: int, h: int, e: int) -> int:
    """The column of a step that a lane meets there, with pairs of planes."""
    return 32 * (plane // 2) + 8 * t + 4 * (plane % 2) + 2 * h + e


def expected_weights(lanes: LaneMatrix, step: int, scales: int) -> torch.Tensor:
    """[16, step] patterns: codes times scales, rounded once to 16 bits; 0 past the matrix."""
    packed = from_lanes(lanes)
    codes = unpack_codes(packed.codes, lanes.bits, lanes.k).to(lanes.dtype)
    weights = codes
    if scales:
        weights = codes * packed.scales.repeat_interleave(lanes.group_size, 1)[:, : lanes.k]
    padded = torch.zeros((16, lanes.steps * lanes.step), dtype=lanes.dtype)
    padded[:, : lanes.k] = weights
    return padded[:, step * lanes.step : (step + 1) * lanes.step]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize(("bits", "group_size", "scales"), SCHEMES)
def test_every_register_of_a_block(bits, group_size, scales, spread, dtype):
    lanes = one_step(bits, group_size, KINDS[dtype])
    assert (lanes.scale_group is None and scales == 0) or lanes.scales_per_step == scales
    step = lanes.steps - 1
    expected = expected_weights(lanes, step, scales)
    found = torch.full_like(expected, torch.nan)
    for block in range(PLANES[bits] // BLOCK_PLANES):
        text = block_text(bits, dtype, block, scales, spread=spread)
        for lane in range(32):
            out = run_ptx(text, registers_in(lanes, step, lane, scales, block, spread=spread), 16)
            halves = torch.from_numpy(np.array(out, np.uint32).view(np.int16)).view(KINDS[dtype])
            g, t = lane // 4, lane % 4
            for place, value in enumerate(halves.view(BLOCK_PLANES, 2, 2, 2).flatten()):
                i, h, r8, e = np.unravel_index(place, (BLOCK_PLANES, 2, 2, 2))
                found[8 * r8 + g, k_in_step(BLOCK_PLANES * block + i, t, h, e)] = value
    assert torch.equal(found, expected)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_scale_words_into_registers(count):
    """Words of a step from base + offset on; what is not loaded is zero, as no register may stay open."""
    memory = [0xABC00000 + place for place in range(64)]
    for base, offset in ((0, 0), (64, 4 * count), (192, -4 * count)):
        inputs = {"$8": base, "$16": offset & MASK}
        out = run_ptx(scales_text(count), inputs, 8, memory)
        first = (base + offset) // 4
        assert out == memory[first : first + count] + [0] * (8 - count)
