"""The ring kernel on a Hopper GPU: numerics against float64, the same bits again, graphs."""

import itertools

import pytest
import torch
from torch import Tensor

from kernels import PackedMatrix, linear, prepare
from kernels.decode import decode_reference
from kernels.epilogue import Epilogue, Norm
from kernels.gpu import TritonMatrix
from kernels.ring_tiles import LARGEST_RING
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error
from tests.kernels.hopper import DTYPES, GROUPS, ON_HOPPER, RAGGED_K

pytestmark = ON_HOPPER

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
    assert matrix.takes_ring(m, dtype)
    assert m > matrix.decode_rows(dtype, more=False)
    first = matrix.multiply(x, added)
    assert first.shape == (m, packed.n)
    again = [matrix.multiply(x, added) for _ in range(runs - 1)]
    exact = x.double() @ packed.dequantize(torch.float64).mT
    error = relative_error(first, exact if added is None else exact + added.double())
    tiles = [plan.tile for plan in matrix.ring_plans.values()]
    assert error <= TOLERANCE[dtype], f"relative error {error:.2e} at {m} rows with one of {tiles}"
    assert all(torch.equal(first, other) for other in again)


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
        assert not matrix.ring_plans


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [12, 40])
def test_a_norm_a_gate_and_a_residual_around_many_rows(rows, dtype):
    """Against float64; with 40 rows each has a launch of its own, with 12 the decode kernel does all."""
    packed = random_matrix((2048, 1024), 4, 64, dtype, device="cuda")
    norm = Norm(random_rows((1024,), dtype, 1, device="cuda"), 1e-5)
    residual = random_rows((rows, 1024), dtype, 2, device="cuda")
    bias = random_rows((2048,), dtype, 3, device="cuda")
    x = random_rows((rows, 1024), dtype, device="cuda")
    out = linear(x, prepare(packed), bias, residual=residual, activation="silu", norm=norm)
    exact = decode_reference(x, packed, Epilogue(bias, residual, "silu", norm))
    assert relative_error(out, exact) <= 2 * TOLERANCE[dtype]
