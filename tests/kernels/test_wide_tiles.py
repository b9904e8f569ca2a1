"""How a product of routed rows is cut up: tiles that fit a multiprocessor, room for every routing."""

import itertools
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.gpu import TritonMatrix
from kernels.tiles import Gpu
from kernels.wide_tiles import (
    MOST_WALKED,
    SMALLEST_WIDE_OUTPUT,
    TILE_SPEEDS,
    choose_routed_tiles,
    wide_tile,
)
from tests.kernels.cases import lanes_without_memory

pytest.importorskip("triton")

from kernels.expert_tiles import most_tiles
from kernels.wide_experts import WideExpertsPlan, wide_constants

# Of compute capability 9.0.
SHARED = 227 << 10  # bytes that a program may take
SHARED_OF_ALL = 228 << 10  # bytes of a multiprocessor, of which each program costs RESERVED more
RESERVED = 1 << 10
REGISTERS = 1 << 16
SCRATCH = 512  # bytes a warp, in which the epilogue turns 16 x 16 results

BITS = st.sampled_from([8, 4, 3])
OUTPUTS = st.integers(SMALLEST_WIDE_OUTPUT, 60_000)
COLUMNS = st.integers(16, 30_000)

every_tile = pytest.mark.parametrize(("bits", "rows"), list(itertools.product([8, 4, 3], TILE_SPEEDS)))


@every_tile
def test_a_tile_is_one_that_the_kernel_knows(bits, rows):
    tile = wide_tile(bits, rows)
    assert tile.rows == rows
    assert (2 if bits == 8 else 4) % tile.stage_blocks == 0  # a step is whole stages
    assert tile.stages >= 3  # one read, one just read, one on its way
    assert tile.warps in (4, 8)  # one or two warpgroups
    assert tile.row_tiles in (1, 2)
    assert tile.outputs == 16 * tile.warps * tile.row_tiles <= SMALLEST_WIDE_OUTPUT


@every_tile
def test_registers(bits, rows):
    """A warp's registers come 8 a lane; sums, a fragment of unpacked weights and its words must fit."""
    tile = wide_tile(bits, rows)
    assert tile.registers <= 255
    assert tile.programs * tile.warps * 32 * (-(-tile.registers // 8) * 8) <= REGISTERS
    sums = tile.row_tiles * tile.rows // 2  # 16 rows of weights a warp
    assert sums + 32 + 16 <= tile.registers


@every_tile
@pytest.mark.parametrize("group_size", [None, 32, 128])
def test_the_rings_fit_in_shared_memory(bits, rows, group_size):
    tile = wide_tile(bits, rows)
    stack = lanes_without_memory(bits, group_size, 4096, 4096, experts=8)
    x = tile.stages * tile.stage_blocks * tile.rows * 64 * 2
    words = wide_constants(stack, tile)["SLOTS"] * tile.outputs // 16 * stack.words.shape[-1] * 4
    needed = x + words + SCRATCH * tile.warps
    assert needed <= SHARED
    assert tile.programs * (needed + RESERVED) <= SHARED_OF_ALL


@every_tile
def test_words_arrive_before_their_step(bits, rows):
    """Words start with the first stage of a step, SLOTS - 1 steps ahead, and arrive STAGES - 2 stages on."""
    tile = wide_tile(bits, rows)
    slots = wide_constants(lanes_without_memory(bits, 64, 4096, 4096, experts=8), tile)["SLOTS"]
    stages_of_a_step = (2 if bits == 8 else 4) // tile.stage_blocks
    assert (slots - 1) * stages_of_a_step >= tile.stages - 2


@given(bits=BITS, rows_per_expert=st.floats(1, 4096), k=COLUMNS)
def test_tiles_are_of_known_speed(bits, rows_per_expert, k):
    tile, small = choose_routed_tiles(bits, rows_per_expert, k)
    for each in (tile, small or tile):
        assert each.rows in TILE_SPEEDS
        assert each == wide_tile(bits, each.rows)
    assert small is None or small.rows < tile.rows


@pytest.mark.parametrize(
    ("rows_per_expert", "k", "rows"),
    [(16, 4096, 32), (32, 4096, 64), (64, 768, 64), (128, 2048, 128), (256, 4096, 256), (2048, 4096, 256)],
)
def test_more_rows_an_expert_take_larger_tiles(rows_per_expert, k, rows):
    assert choose_routed_tiles(4, rows_per_expert, k)[0].rows == rows


@given(
    counts=st.lists(st.integers(0, 600), min_size=1, max_size=20), rows=st.sampled_from([32, 64, 128, 256]),
    small=st.sampled_from([0, 32, 64]),
)  # fmt: skip
def test_there_is_room_for_every_routing(counts, rows, small):
    """However rows fall on experts; and never more than a tile an expert too much."""
    small = small if small < rows else 0
    needed = sum(-(-count // rows) - (0 < count % rows <= small) for count in counts)
    most = most_tiles(sum(counts), len(counts), rows, small)
    assert needed <= most <= max(1, sum(counts) // rows + len(counts))


@dataclass
class Recorder:
    """Stands for a launch, and keeps what it is called with."""

    calls: list[tuple] = field(default_factory=list)

    def __call__(self, grid, kind, *arguments):
        self.calls.append((grid, arguments))


@given(
    bits=BITS, rows=st.integers(1, 5000), experts=st.sampled_from([1, 8, 60, 512]), n=OUTPUTS,
    multiprocessors=st.sampled_from([78, 132]), share=st.sampled_from([1, 4]),
)  # fmt: skip
def test_launches_of_routed_rows(bits, rows, experts, n, multiprocessors, share):  # noqa: PLR0917
    """Sizes follow from the shapes alone: tables and memory have room for the most tiles."""
    stack = lanes_without_memory(bits, 64, n, 192, experts=experts)
    tile, small = choose_routed_tiles(bits, rows * share / experts, 192)
    plan = WideExpertsPlan(stack, tile, multiprocessors, small=small)
    products = [Recorder() for _ in plan.products]
    plan.count, plan.place, plan.gather, plan.products = *(Recorder() for _ in range(3)), products
    x = torch.empty((rows, 192), dtype=torch.float16, device="meta")
    out = plan.multiply(x, torch.empty(rows * share, dtype=torch.int64, device="meta"))
    assert out.shape == (rows * share, n)
    places = 0
    for number, product in enumerate(products):
        of_tile = (tile, small)[number]
        (((programs, _, _), arguments),) = product.calls
        ordered, row, tile_expert = arguments[0], *arguments[4:6]
        outputs, x_rows, tiles, steps, m_tiles, n_blocks = arguments[6:]
        assert ordered.shape[0] == steps * stack.step // 64
        assert ordered.shape[1] == x_rows - places  # of all tiles, the places of these come first
        places += row.shape[0]
        assert row.shape[0] == m_tiles * of_tile.rows
        assert tile_expert.shape[0] >= m_tiles + 1
        assert tile_expert.storage_offset() % 4 == row.storage_offset() % 4 == 0  # 16 bytes
        assert (outputs, tiles) == (n, stack.tiles)
        assert n_blocks == -(-n // of_tile.outputs)
        assert 1 <= programs <= of_tile.programs * multiprocessors
    assert places == x_rows
    (((gathered, step_columns, _), _),) = plan.gather.calls
    assert 32 * gathered >= rows * share
    assert step_columns == stack.steps
    (((chunks, _, _), counted),) = plan.count.calls
    assert counted[1].numel() == chunks * plan.ids
    assert plan.ids >= experts


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({}, True),
        ({"rows": 8 * MOST_WALKED // 2}, False),  # few rows an expert
        ({"capability": 80}, False),
        ({"group_size": 48}, False),
        ({"n": SMALLEST_WIDE_OUTPUT - 1}, False),
        ({"rows": 100_000}, True),  # there is no other way for many
        ({"dtype": torch.bfloat16}, False),
    ],
)
def test_which_routed_rows_the_wide_kernel_takes(changed, taken):
    case = {"capability": 90, "group_size": 64, "n": 1024, "rows": 128, "dtype": torch.float16} | changed
    stack = lanes_without_memory(4, case["group_size"], case["n"], 768, experts=8)
    assert TritonMatrix(stack, Gpu(case["capability"])).is_wide_routed(case["rows"], case["dtype"]) is taken
