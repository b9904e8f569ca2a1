"""What a tile of the ring kernel keeps within, planned and compiled for Hopper."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from kernels.ring_tiles import RingTile, step_blocks
from tests.kernels.test_compile import compile_all

SCRIPT = Path(__file__).with_name("compile_ring.py")
SHARED_OF_ALL = 228 << 10  # bytes of a multiprocessor; each program costs RESERVED more than it asks for
RESERVED = 1 << 10
BARRIERS = 256  # bytes, at most
REGISTERS = 1 << 16
MOST_STACK = 64  # bytes a thread
MOST_BARRIERS = 8  # in a step of 256 columns, with 64 columns of x a stage
SCHEMES = (
    (4, 128, "float16"),
    (4, 64, "bfloat16"),
    (8, None, "float16"),
    (4, 32, "float16"),
    (8, 128, "bfloat16"),
    (3, 64, "float16"),
)


def check_room(tile: RingTile, bits: int) -> None:
    """As many programs as it says fit a multiprocessor, and a stage of x is no longer than a step."""
    assert tile.programs * (tile.shared(bits) + RESERVED + BARRIERS) <= SHARED_OF_ALL, tile
    assert tile.programs * (tile.warps + 4) * 32 * tile.registers <= REGISTERS, tile
    assert tile.stage_blocks <= step_blocks(bits), tile


def check_compiled(tiles: Iterable[RingTile]) -> None:
    """Each, in two of the schemes: it fits, nothing spills, matrix instructions don't wait for each other."""
    cases = [
        {"tile": asdict(tile.of_bits(bits)), "bits": bits, "group_size": group, "dtype": dtype}
        for number, tile in enumerate(tiles)
        for bits, group, dtype in (SCHEMES[number % 2], SCHEMES[2 + number % 4])
    ]
    for case, report in compile_all(cases, SCRIPT):
        tile = case["tile"]
        calls = tile["row_tiles"] * step_blocks(case["bits"])
        assert report["multiplications"] == 4 * calls, case
        # More where the compiler makes them wait for each other.
        assert report["starts"] == calls, case
        assert report["local"] == 0 and report["stack"] <= MOST_STACK, case
        assert report["barriers"] <= MOST_BARRIERS and report["fences"] <= 1, case
        assert tile["programs"] * (report["shared"] + RESERVED) <= SHARED_OF_ALL, case
        assert tile["programs"] * (tile["warps"] + 4) * 32 * report["registers"] <= REGISTERS, case
