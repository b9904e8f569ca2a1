"""The wide kernel on a Hopper GPU, which multiplies routed rows: numerics, the same bits again, graphs."""

import itertools

import pytest
import torch
from torch import Tensor

from kernels import PackedMatrix, expert_linear, prepare
from kernels.experts import expert_matmul_reference
from kernels.gpu import TritonMatrix
from kernels.tiles import row_bucket
from kernels.wide_tiles import TILE_SPEEDS, wide_tile
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error
from tests.kernels.hopper import DTYPES, GROUPS, ON_HOPPER, RAGGED_K

pytestmark = ON_HOPPER

# Routed rows of 6 experts; ids of 6 and 7 stand for none.
EXPERTS = 6
ROUTED_ROWS = (80, 500)
ROUTINGS = {
    "random": lambda rows: torch.randint(0, EXPERTS, (rows,), generator=torch.Generator().manual_seed(rows)),
    "some without": lambda rows: (torch.arange(rows) * 7 // 3) % (EXPERTS + 2),
    "one has all": lambda rows: torch.full((rows,), 4),
    "nobody has any": lambda rows: torch.full((rows,), EXPERTS),
    "one each, and the rest": lambda rows: torch.arange(rows).clamp(max=EXPERTS - 1),
}


def check_routed(
    matrix: TritonMatrix, packed: PackedMatrix, x: Tensor, expert: Tensor, runs: int = 3
) -> None:
    """Within the tolerance of float64, zeros without an expert, and the same bits when run again."""
    rows = expert.numel()
    assert matrix.is_wide_routed(rows, x.dtype)
    first = expert_linear(x, matrix, expert)
    again = [expert_linear(x, matrix, expert) for _ in range(runs - 1)]
    flat = expert.flatten()
    assert torch.count_nonzero(first[flat >= EXPERTS]) == 0
    if (flat < EXPERTS).any():
        error = relative_error(first, expert_matmul_reference(x, packed, flat))
        tiles = [plan.tiles for plan in matrix.wide_expert_plans.values()]
        assert error <= TOLERANCE[x.dtype], f"relative error {error:.2e} at {rows} rows with one of {tiles}"
    assert all(torch.equal(first, other) for other in again)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_routed_rows(bits, group_size, dtype):
    from kernels.wide_experts import WideExpertsPlan  # loads Triton

    n = 300 if dtype == torch.float16 else 1000
    packed = random_matrix((EXPERTS, n, RAGGED_K[group_size]), bits, group_size, dtype, device="cuda")
    matrix = prepare(packed)
    for rows, routing, of_tile in itertools.product(ROUTED_ROWS, ("random", "some without"), TILE_SPEEDS):
        small = wide_tile(bits, 32) if of_tile > 32 else None
        plan = WideExpertsPlan(
            matrix.lanes, wide_tile(bits, of_tile), matrix.gpu.multiprocessors, small=small
        )
        matrix.wide_expert_plans = {row_bucket(rows): plan}
        x = random_rows((rows, packed.k), dtype, seed=rows, device="cuda")
        check_routed(matrix, packed, x, ROUTINGS[routing](rows).cuda())


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_uneven_routing(bits, routing):
    packed = random_matrix((EXPERTS, 512, 1024), bits, 64, torch.bfloat16, device="cuda")
    matrix = prepare(packed)
    for rows in (*ROUTED_ROWS, 1600):
        x = random_rows((rows, 1024), torch.bfloat16, seed=rows, device="cuda")
        check_routed(matrix, packed, x, ROUTINGS[routing](rows).to("cuda", torch.int32))


def test_many_experts_with_several_a_row():
    """128 experts, 8 a row, 1024 rows: right where it is looked at, and the same bits in 20 runs."""
    packed = random_matrix((128, 512, 768), 4, 128, torch.bfloat16, device="cuda")
    matrix = prepare(packed)
    x = random_rows((1024, 768), torch.bfloat16, device="cuda")
    expert = random_rows((1024, 128), torch.float32, device="cuda").topk(8).indices
    assert matrix.is_wide_routed(expert.numel(), x.dtype)
    out = expert_linear(x, matrix, expert)
    some = torch.arange(0, expert.numel(), 37, device="cuda")
    dense = packed.dequantize(torch.float64)
    exact = torch.stack([dense[expert.flatten()[row]] @ x[row // 8].double() for row in some.tolist()])
    assert relative_error(out[some], exact) <= TOLERANCE[torch.bfloat16]
    assert all(torch.equal(out, expert_linear(x, matrix, expert)) for _ in range(20))


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
def test_routed_gate_and_up(activation):
    packed = random_matrix((EXPERTS, 640, 768), 4, 64, torch.bfloat16, device="cuda")
    matrix = prepare(packed)
    x = random_rows((300, 768), torch.bfloat16, device="cuda")
    expert = torch.stack([ROUTINGS["random"](300), ROUTINGS["some without"](300)], 1).cuda()
    assert matrix.is_wide_routed(expert.numel(), x.dtype)
    out = expert_linear(x, matrix, expert, activation=activation)
    reference = expert_matmul_reference(x, packed, expert.flatten(), activation)
    # Gate and up are rounded before they meet.
    assert relative_error(out, reference) <= 3 * TOLERANCE[torch.bfloat16]


def test_routed_rows_in_a_cuda_graph():
    """A block's two products, captured once, replayed with other rows and another routing."""
    up, down = (
        prepare(random_matrix((EXPERTS, n, k), 4, 64, torch.bfloat16, n, device="cuda"))
        for n, k in ((1024, 512), (512, 1024))
    )
    x = random_rows((200, 512), torch.bfloat16, device="cuda")
    expert = ROUTINGS["random"](200).cuda()

    def run() -> Tensor:
        return expert_linear(expert_linear(x, up, expert), down, expert)

    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    for routing in ROUTINGS.values():
        expert.copy_(routing(200))
        x.copy_(random_rows((200, 512), torch.bfloat16, 7))
        out.zero_()
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(out, run())


def test_starts_that_overlap():
    """Routed and dense products in turn, call after call without a wait: what each alone gives."""
    stack = prepare(random_matrix((EXPERTS, 512, 512), 4, 64, torch.bfloat16, device="cuda"))
    dense = prepare(random_matrix((512, 512), 4, 64, torch.bfloat16, device="cuda"))
    x = random_rows((200, 512), torch.bfloat16, device="cuda")
    expert = ROUTINGS["some without"](200).cuda()

    def run(wait: bool) -> Tensor:
        y = x
        for _ in range(6):
            y = dense.multiply(expert_linear(y, stack, expert), None)
            if wait:
                torch.cuda.synchronize()
        return y

    expected = run(True)
    assert torch.isfinite(expected).all()
    assert all(torch.equal(run(False), expected) for _ in range(20))
