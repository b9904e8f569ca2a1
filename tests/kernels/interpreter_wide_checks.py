# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The wide kernel's text through an emulator, its other launches through Triton's interpreter.

Run by `test_interpreter.py`. Not collected with the other tests: the interpreter is chosen when Triton is
imported, for the whole process.
"""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.expert_tiles import place_kernel
from kernels.experts import expert_matmul_reference
from kernels.lane_layout import to_lanes
from kernels.wide_experts import WideExpertsPlan
from kernels.wide_tiles import WideTile
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error
from tests.kernels.numerics import poisoned_memory
from tests.kernels.wide_emulator import EmulatedLaunch

HALF, BRAIN = torch.float16, torch.bfloat16
TWO_TILES, LONG_RING = WideTile(32, 4, 2, 4, 2, 2), WideTile(64, 4, 2, 6, 1, 2)
EIGHT_WARPS, LARGEST = WideTile(128, 8, 1, 4, 2, 1), WideTile(256, 8, 1, 4, 1, 1)


def routed(bits, group_size, dtype, expert, experts, n, k, tile, multiprocessors, share, small=None) -> None:
    """Within the tolerance of float64; rows without an expert are zero."""
    packed = random_matrix((experts, n, k), bits, group_size, dtype)
    plan = WideExpertsPlan(to_lanes(packed, dtype), tile, multiprocessors, small=small, early=False)
    plan.products = [EmulatedLaunch(product) for product in plan.products]
    x = random_rows((len(expert) // share, k), dtype)
    with poisoned_memory():
        out = plan.multiply(x, expert)
    exact = expert_matmul_reference(x, packed, expert)
    assert torch.count_nonzero(out[expert >= experts]) == 0
    assert relative_error(out, exact) <= TOLERANCE[dtype] or not torch.count_nonzero(exact)


@pytest.mark.parametrize(
    ("bits", "group_size", "dtype", "rows", "experts", "n", "k", "tile", "multiprocessors", "share"),
    [
        (4, 64, HALF, 150, 5, 300, 576, TWO_TILES, 2, 1),
        (3, 32, BRAIN, 200, 3, 272, 544, WideTile(64, 4, 2, 4, 2, 2), 1, 2),
        (8, None, HALF, 140, 4, 300, 500, EIGHT_WARPS, 2, 1),
        (8, 128, BRAIN, 140, 2, 272, 512, LONG_RING, 1, 4),
        (4, 96, HALF, 120, 6, 272, 480, LARGEST, 1, 1),
        (4, 128, BRAIN, 140, 40, 256, 256, TWO_TILES, 200, 1),  # one step a block; programs without one
    ],
)
def test_routed(bits, group_size, dtype, rows, experts, n, k, tile, multiprocessors, share):
    """Random routing, ids of `experts` for none among it."""
    expert = torch.randint(0, experts + 1, (rows,), generator=torch.Generator().manual_seed(rows))
    routed(bits, group_size, dtype, expert, experts, n, k, tile, multiprocessors, share)


@pytest.mark.parametrize(
    "expert",
    [[1] * 70, [4] * 9, [2] * 32 + [0] * 33 + [4] * 3, [3]],
    ids=["one has all", "nobody has any", "whole tiles and one more", "a single row"],
)
def test_uneven_routing(expert):
    routed(4, 64, HALF, torch.tensor(expert), 4, 272, 320, TWO_TILES, 1, 1)


def test_small_tiles():
    """Experts with 256 rows, with 64 and 65 more, with few and with none, and rows without an expert."""
    counts = (256, 320, 321, 5, 0, 64, 100, 20)
    expert = torch.repeat_interleave(torch.arange(8), torch.tensor(counts))
    expert = expert[torch.randperm(len(expert), generator=torch.Generator().manual_seed(1))]
    routed(4, 64, HALF, expert, 7, 272, 320, LARGEST, 3, 1, small=WideTile(64, 4, 2, 4, 2, 2))


def fragment_order(x: Tensor, columns: int) -> Tensor:
    """[columns / 64, M, 64] in plain torch, zeros beyond x."""
    padded = x.new_zeros((len(x), columns))
    padded[:, : x.shape[1]] = x
    parts = padded.view(len(x), columns // 64, 2, 4, 2, 2, 2)  # block, q, t, b, h, e
    return parts.permute(1, 0, 2, 4, 5, 3, 6).reshape(columns // 64, len(x), 64)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(
    expert=st.lists(st.integers(0, 9), min_size=1, max_size=400), share=st.sampled_from([1, 2]),
    tile=st.sampled_from([TWO_TILES, LONG_RING, EIGHT_WARPS]), small=st.sampled_from([None, TWO_TILES]),
    wide_ids=st.booleans(),
)  # fmt: skip
@example(expert=[i * i % 9 for i in range(600)], share=1, tile=LONG_RING, small=TWO_TILES, wide_ids=True)
def test_arranged_rows(expert, share, tile, small, wide_ids):
    """Seven experts, ids 7 to 9 for none: each row once, in order, in a tile of its expert, its x there."""
    expert = expert * share
    small = None if small is tile else small
    ids = torch.tensor(expert, dtype=torch.int64 if wide_ids else torch.int32)
    packed = random_matrix((7, 256, 160), 4, 32, HALF)
    plan = WideExpertsPlan(to_lanes(packed, HALF), tile, 1, small=small, early=False)
    if wide_ids:  # as with so many chunks that they are not all read at once
        plan.place = plan.launch_before(
            place_kernel, 8, early=False, ROWS=tile.rows, SMALL=plan.small_rows, READ=2
        )
    x = random_rows((len(expert) // share, 160), HALF)
    with poisoned_memory():
        out = torch.empty((len(expert), 256), dtype=HALF)
        arranged = plan.arrange(x, ids, out)
    rows_of = [torch.nonzero(ids == e)[:, 0] for e in range(7)]
    wanted: list[list[tuple[int, torch.Tensor]]] = [[], []]  # tiles of each size: expert and rows
    for e, rows in enumerate(rows_of):
        for part in rows.split(tile.rows) if len(rows) else ():
            wanted[len(part) <= plan.small_rows].append((e, part))
    for of_size, tiles, of_tile in zip(wanted, arranged, plan.tiles, strict=False):
        m_tiles = len(tiles.row) // of_tile.rows
        found = tiles.expert.tolist()
        assert found[m_tiles] == len(of_size) <= m_tiles
        assert found[: len(of_size)] == [e for e, _ in of_size]
        assert set(found[len(of_size) : m_tiles]) <= {0}  # read ahead, so it must be an expert
        rows = torch.full((m_tiles, of_tile.rows), -1)
        for number, (_, part) in enumerate(of_size):
            rows[number, : len(part)] = part
        assert torch.equal(tiles.row, rows.flatten().int())
        there = rows.flatten() >= 0
        x_of_tiles = tiles.x[:, : len(there)]
        assert torch.equal(x_of_tiles[:, there], fragment_order(x[rows.flatten()[there] // share], 256))
    assert plan.small_rows or not wanted[1]
    assert torch.count_nonzero(out[ids > 6]) == 0
    assert torch.isnan(out[ids < 7]).all()
