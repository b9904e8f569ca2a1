"""The wide kernel compiles for Hopper: weights in registers up to the matrix unit, no spills on the way."""

import importlib.util
import itertools
from pathlib import Path

import pytest

from kernels.wide_tiles import choose_routed_tiles
from tests.kernels.test_compile import compile_all

SCRIPT = Path(__file__).with_name("compile_wide.py")
ROWS = (16, 64, 128, 512)  # of an expert: one of each tile
COLUMNS = 2048
SCHEMES = tuple(itertools.product((None, 32, 64, 128), ("float16", "bfloat16")))
MOST_STACK = 512  # bytes a thread, which the sums of the largest tiles take while they are stored
MOST_SPILLS = 2  # in the loop: a value of the largest tile or of 3 bits, once a step of 256 columns
SHARED_OF_ALL = 228 << 10  # bytes of a multiprocessor; each program costs 1 KiB more than it asks for
REGISTERS = 1 << 16

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_every_tile_and_every_scheme(bits):
    """Every limit, with all offenders named."""
    assert len({choose_routed_tiles(bits, m, COLUMNS)[0] for m in ROWS}) == len(ROWS)
    # Each tile with both dtypes, and with other groups for other bits.
    tiles = [ROWS[(number + number // 4 + bits) % len(ROWS)] for number in range(len(SCHEMES))]
    cases = [
        {"bits": bits, "group_size": group_size, "dtype": dtype, "m": m, "k": COLUMNS}
        for m, (group_size, dtype) in zip(tiles, SCHEMES, strict=True)
    ]
    offenders = []
    for case, report in compile_all(cases, SCRIPT):
        tile = report["tile"]
        tight = tile["rows"] == 256 or bits == 3
        wrong = {
            "not one loop with the matrix unit": report["loops"] != 1,
            "matrix instructions": report["multiplications"] != matrix_instructions(bits, tile),
            "weights from shared memory": report["from_shared"] > 0,
            "weights through shared memory": report["trips"] > 0,
            "spills in the loop": report["spills"] > (MOST_SPILLS if tight else 0),
            "barriers": report["barriers"] > stages_of_a_step(bits, tile) * (2 + tile["stage_blocks"]),
            "stack": report["stack"] > MOST_STACK,
            "registers": report["registers"] > tile["registers"]
            or tile["programs"] * tile["warps"] * 32 * report["registers"] > REGISTERS,
            "shared memory": tile["programs"] * (report["shared"] + 1024) > SHARED_OF_ALL,
            # What the tables say is read at once, so the kernel starts after the end of what writes them.
            "dependent launch": report["dependent_launches"] > 0,
        }
        offenders += [(name, case, report) for name, is_wrong in wrong.items() if is_wrong]
    assert not offenders, "\n".join(map(str, offenders))


def matrix_instructions(bits: int, tile: dict[str, int]) -> int:
    """One for 16 columns of a step and a row tile; with 8 warps two warpgroups run the same one."""
    return tile["row_tiles"] * (8 if bits == 8 else 16)


def stages_of_a_step(bits: int, tile: dict[str, int]) -> int:
    """Each wants one barrier; the compiler adds those that it cannot prove needless."""
    return (2 if bits == 8 else 4) // tile["stage_blocks"]
