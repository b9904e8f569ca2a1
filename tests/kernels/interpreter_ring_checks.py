# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The text of `ring_kernel` through an emulator, its reordering through Triton's interpreter.

Run by `test_interpreter.py`: the interpreter is chosen when Triton is imported, for the whole process.
"""

import pytest
import torch

from kernels.lane_layout import to_lanes
from kernels.reorder import reorder_kernel
from kernels.ring_plan import RingPlan
from kernels.ring_tiles import RingTile
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error
from tests.kernels.numerics import poisoned_memory
from tests.kernels.ring_emulator import EmulatedRing

HALF, BRAIN = torch.float16, torch.bfloat16


@pytest.mark.parametrize(
    ("bits", "group_size", "dtype", "m", "n", "k", "tile", "multiprocessors"),
    [
        (4, 64, HALF, 16, 300, 576, RingTile(16, 4, 1, 3, 4, 4, sums=True), 2),  # programs share blocks
        (4, 128, BRAIN, 20, 300, 2048, RingTile(32, 4, 2, 2, 4, 2, sums=True), 12),  # seven share one
        (4, 64, HALF, 40, 272, 576, RingTile(32, 4, 2, 3, 4, 1, sums=True), 1),  # several blocks a program
        (4, 256, BRAIN, 3, 272, 1024, RingTile(16, 8, 2, 3, 4, 1, sums=True), 3),
        (4, 128, HALF, 70, 272, 1024, RingTile(64, 4, 2, 2, 2, 2), 3),
        (4, 32, BRAIN, 100, 300, 544, RingTile(128, 8, 1, 1, 1, 1), 2),
        (8, 64, HALF, 16, 272, 640, RingTile(16, 4, 1, 4, 2, 2, sums=True), 3),
        (8, None, HALF, 40, 300, 500, RingTile(64, 4, 2, 2, 1, 2), 1),
        (3, 64, HALF, 5, 272, 576, RingTile(8, 4, 1, 4, 4, 4, sums=True), 2),
        (4, 128, HALF, 40, 592, 1024, RingTile(64, 8, 1, 3, 2, 1), 2),
        (3, 64, HALF, 40, 300, 576, RingTile(64, 8, 1, 2, 2, 2), 2),
        (3, 128, BRAIN, 16, 272, 1024, RingTile(16, 4, 1, 3, 4, 4, sums=True), 2),
        (4, None, BRAIN, 9, 272, 1000, RingTile(16, 4, 1, 3, 4, 4, sums=True), 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("with_bias", [True, False])
def test_products(bits, group_size, dtype, m, n, k, tile, multiprocessors, with_bias):
    """Two calls: the counters are zero again after the first."""
    packed = random_matrix((n, k), bits, group_size, dtype)
    plan = RingPlan(to_lanes(packed, dtype), tile, multiprocessors, m)
    plan.launches = {bias: EmulatedRing(launch) for bias, launch in plan.launches.items()}
    constants = {"ROWS": plan.reorder_rows, "PAIR": 2, "DEPENDENT": False}
    plan.reorder = lambda grid, kind, *arguments: reorder_kernel[grid](*arguments, **constants)
    x = random_rows((m, k), dtype)
    bias = random_rows((n,), dtype, 2) if with_bias else None
    exact = x.double() @ packed.dequantize(torch.float64).mT
    if bias is not None:
        exact += bias.double()
    for _ in range(2):
        with poisoned_memory():
            out = plan.multiply(x, bias)
        assert relative_error(out, exact) <= TOLERANCE[dtype]
    assert torch.count_nonzero(plan.arrived) == 0
