"""The ring and the wide kernel on a Hopper GPU: numerics against float64, the same bits again, graphs.

Plain matrices go through the ring kernel, routed rows through the wide one.
"""

import itertools

import pytest
import torch
from torch import Tensor

from kernels import PackedMatrix, expert_linear, prepare
from kernels.experts import expert_matmul_reference
from kernels.gpu import TritonMatrix, gpu_of
from kernels.ring_tiles import LARGEST_RING
from kernels.tiles import row_bucket
from kernels.wide_tiles import TILE_SPEEDS, WIDE_CAPABILITY, wide_tile
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error


def why_not_here() -> str:
    if not torch.cuda.is_available():
        return "no CUDA GPU on this machine"
    if gpu_of(torch.device("cuda")).capability != WIDE_CAPABILITY:
        return "these kernels are for compute capability 9.0"
    return ""


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(why_not_here()), reason=why_not_here())]

DTYPES = (torch.float16, torch.bfloat16)
GROUPS = (None, 32, 64, 96, 128, 256)
# Multiples of no step where the group allows; odd for channel.
RAGGED_K = {None: 1003, 32: 1056, 64: 1088, 96: 1056, 128: 1152, 256: 1280}
# Rows of x and of the weights, so that each of two halves meets half of the tiles and both every tile.
HALVES = (
    (((17, 29), 300), ((33, 64), 16_500), ((200, 1100), 16_392)),
    (((18, 32), 16_500), ((40, 61, 100), 777), ((129, 256), 1000), ((257, 511), 533)),
)


def check(matrix: TritonMatrix, packed: PackedMatrix, m: int, *, bias: bool = False, runs: int = 3) -> None:
    """Within the tolerance of float64 by the ring kernel, and the same bit for bit when run again."""
    dtype = matrix.lanes.dtype
    x = random_rows((m, packed.k), dtype, seed=m, device="cuda")
    added = random_rows((packed.n,), dtype, seed=m + 1, device="cuda") if bias else None
    assert matrix.is_wide(m, dtype)
    assert m > matrix.decode_rows(dtype)
    first = matrix.multiply(x, added)
    assert first.shape == (m, packed.n)
    again = [matrix.multiply(x, added) for _ in range(runs - 1)]
    exact = x.double() @ packed.dequantize(torch.float64).mT
    error = relative_error(first, exact if added is None else exact + added.double())
    tiles = [plan.tile for plan in matrix.wide_plans.values()]
    assert error <= TOLERANCE[dtype], f"relative error {error:.2e} at {m} rows with one of {tiles}"
    assert all(torch.equal(first, other) for other in again)


@pytest.fixture
def poisoned_memory():
    """Fresh tensors hold NaN, so an output that nobody wrote is seen.

    The kernels that fill them come between ours, so tests of overlapping starts go without.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.isnan(torch.empty(3, device="cuda")).all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_ragged_matrices(bits, group_size, dtype):
    half = (GROUPS.index(group_size) + DTYPES.index(dtype)) % 2
    for number, (rows, n) in enumerate(HALVES[half]):
        packed = random_matrix((n, RAGGED_K[group_size]), bits, group_size, dtype, device="cuda")
        matrix = prepare(packed)
        for m in rows:
            check(matrix, packed, m, bias=number % 2 == 0)


@pytest.mark.parametrize(("n", "k"), [(6144, 4096), (4096, 14336), (17_408, 2048)])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_linears_of_models(bits, n, k):
    """Whole blocks one after the other and blocks shared along K: the same bits in 20 runs."""
    packed = random_matrix((n, k), bits, 64, torch.float16, device="cuda")
    matrix = prepare(packed)
    for m in (17, 64, 100, 1024, LARGEST_RING):
        check(matrix, packed, m, runs=20)


@pytest.mark.parametrize("group_size", [None, 32, 64, 128])
@pytest.mark.parametrize(("bits", "n", "k"), [(8, 8192, 9216), (4, 16_384, 9216), (4, 7168, 28_672)])
def test_few_rows_of_a_large_matrix(bits, n, k, group_size):
    packed = random_matrix((n, k), bits, group_size, torch.bfloat16, device="cuda")
    matrix = prepare(packed)
    for m in (9, 16):
        check(matrix, packed, m, bias=m == 9)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", [None, 32, 96])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_every_weight(bits, group_size, dtype):
    """Rows of the identity pick single weights: each comes out exactly, in its place."""
    packed = random_matrix((272, 384), bits, group_size, dtype, device="cuda")
    matrix = prepare(packed)
    identity = torch.eye(384, dtype=dtype, device="cuda")
    expected = packed.dequantize(dtype).mT
    for rows in (32, 384):
        out = torch.cat([matrix.multiply(part, None) for part in identity.split(rows)])
        assert torch.equal(out, expected)


def test_views_as_activations():
    """Rows with gaps between them, and rows that start anywhere."""
    packed = random_matrix((320, 512), 4, 64, torch.bfloat16, device="cuda")
    matrix = prepare(packed)
    weights = packed.dequantize(torch.float64)
    wide = random_rows((40, 1100), torch.bfloat16, device="cuda")
    for x in (wide[:, :512], wide[:, 3:515], wide[4:30, 512:1024], wide[::2, 1:513]):
        assert relative_error(matrix.multiply(x, None), x.double() @ weights.mT) <= TOLERANCE[x.dtype]


def test_what_it_does_not_take():
    """Few outputs, groups of 48 and more rows than it pays for go another way, and are right too."""
    for n, group_size, m in ((200, 64, 50), (320, 48, 50), (320, 64, LARGEST_RING + 1)):
        packed = random_matrix((n, 768), 4, group_size, torch.float16, device="cuda")
        matrix = prepare(packed)
        x = random_rows((m, 768), torch.float16, device="cuda")
        exact = x.double() @ packed.dequantize(torch.float64).mT
        assert relative_error(matrix.multiply(x, None), exact) <= 2 * TOLERANCE[torch.float16]
        assert not matrix.wide_plans


def captured(matrix: TritonMatrix, x: Tensor, bias: Tensor | None) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """A graph of two products in a row, and the second's result."""
    matrix.multiply(x, bias)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        matrix.multiply(x, bias)
        out = matrix.multiply(x, bias)
    return graph, out


@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, None), (3, 128)])
def test_captured_in_a_cuda_graph(bits, group_size):
    """Replayed with other activations, also after calls with more rows that share the plan."""
    matrix = prepare(random_matrix((1024, 4096), bits, group_size, torch.float16, device="cuda"))
    bias = random_rows((1024,), torch.float16, device="cuda")
    for m, more in ((20, 32), (64, 64), (513, 1024)):
        x = random_rows((m, 4096), torch.float16, device="cuda")
        graph, out = captured(matrix, x, bias)
        matrix.multiply(random_rows((more, 4096), torch.float16, device="cuda"), bias)
        occupied = [torch.full((64,), 7, dtype=torch.int32, device="cuda") for _ in range(200)]
        for seed in range(10):
            x.copy_(random_rows((m, 4096), torch.float16, seed))
            out.zero_()
            graph.replay()
            torch.cuda.synchronize()
            assert torch.equal(out, matrix.multiply(x, bias))
        assert all(bool((tensor == 7).all()) for tensor in occupied)


def test_plans_in_turn_on_one_stream():
    """Two matrices and two numbers of rows, call after call: starts overlap, results do not."""
    matrices = [
        prepare(random_matrix((n, k), bits, group, torch.bfloat16, n, device="cuda"))
        for bits, group, n, k in ((4, 64, 2048, 2048), (3, None, 1000, 2048))
    ]
    rows = [random_rows((m, 2048), torch.bfloat16, m, device="cuda") for m in (24, 150)]
    pairs = list(itertools.product(matrices, rows))
    alone = []
    for matrix, x in pairs:
        alone.append(matrix.multiply(x, None))
        torch.cuda.synchronize()
    together = [[matrix.multiply(x, None) for matrix, x in pairs] for _ in range(25)]
    assert all(torch.equal(*both) for turn in together for both in zip(turn, alone, strict=True))


def test_a_chain_of_products():
    """Each product starts before the one that it reads has ended, and still waits for it."""
    packed = [random_matrix((1024, 1024), 4, 128, torch.bfloat16, seed, device="cuda") for seed in range(3)]
    chain = [prepare(each) for each in packed]
    x = random_rows((48, 1024), torch.bfloat16, device="cuda")

    def run(wait: bool) -> Tensor:
        y = x
        for matrix in chain * 6:
            y = matrix.multiply(y, None)
            if wait:
                torch.cuda.synchronize()
        return y

    expected = run(True)
    assert torch.isfinite(expected).all()
    assert all(torch.equal(run(False), expected) for _ in range(20))


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
