# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The kernels on a real GPU: the interpreter's checks on compiled code, and what only a GPU can show."""

import importlib
from types import ModuleType

import pytest
import torch

from kernels import Norm, expert_linear, linear, path_name, prepare
from kernels.experts import expert_matmul_reference
from kernels.gpu import TritonMatrix, gpu_of
from kernels.prepared import DequantizedMatrix
from kernels.tiles import Gpu
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine"),
]

GROUPS = (None, 16, 32, 48, 64, 128, 256, 512)
DTYPES = (torch.float16, torch.bfloat16)
ROWS = (1, 3, 8, 9, 16, 17, 32)
# Multiples of no step where the group allows; odd for channel.
RAGGED_K = {None: 1003, 16: 1040, 32: 1056, 48: 1008, 64: 1088, 96: 1056, 128: 1152, 256: 1280, 512: 1536}
WHOLE_K = {48: 768}


@pytest.fixture(scope="module")
def gpu() -> Gpu:
    return gpu_of(torch.device("cuda"))


@pytest.fixture(scope="module")
def numerics() -> ModuleType:
    """Imported here, because it loads Triton."""
    return importlib.import_module("tests.kernels.numerics")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_matmul(bits, group_size, dtype, gpu, numerics):
    extras = numerics.Extras(bias=True)
    for number, m in enumerate(ROWS):
        for n, k in ((192, WHOLE_K.get(group_size, 1024)), (100, RAGGED_K[group_size])):
            numerics.check_matmul(
                bits, group_size, dtype, m, n, k, extras=extras, seed=number, device="cuda", gpu=gpu,
            )  # fmt: skip


@pytest.mark.parametrize("m", [1, 11, 32])
@pytest.mark.parametrize(
    ("n", "k"), [(4096, 4096), (6144, 4096), (28672, 4096), (4096, 14336), (40_000, 1408)]
)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_large_matrices(bits, n, k, m, gpu, numerics):
    """Every way to walk over blocks, and the same bits in 20 runs."""
    numerics.check_matmul(bits, 64, torch.float16, m, n, k, device="cuda", gpu=gpu, runs=20)


@pytest.mark.parametrize("scale_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_scales_of_another_dtype(bits, dtype, scale_dtype, gpu, numerics):
    for group_size in (None, 32, 64):
        numerics.check_matmul(
            bits, group_size, dtype, 5, 96, 512, scale_dtype=scale_dtype, device="cuda", gpu=gpu
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "silu", "gelu", "gelu_tanh", "relu"])
def test_epilogues_and_prologues(activation, dtype, gpu, numerics):
    for bits, group_size, n, k in ((4, 64, 640, 1088), (8, None, 17_408, 1024), (3, 48, 96, 1008)):
        for m in (1, 7, 30):
            for residual, norm in ((True, False), (False, True), (True, True)):
                extras = numerics.Extras(m > 1, residual, activation, norm)
                numerics.check_matmul(bits, group_size, dtype, m, n, k, extras=extras, device="cuda", gpu=gpu)


@pytest.mark.parametrize(("first", "second"), [((4, 64), (4, 64)), ((8, None), (3, 128)), ((3, 32), (8, 64))])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_a_norm_that_is_fed(first, second, activation, gpu, numerics):
    for m in (1, 2, 8, 13, 16):
        for n in (256, 4096):
            numerics.check_fed_norm(
                first, second, m, n, residual=m < 8, activation=activation, device="cuda", gpu=gpu
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", [None, 16, 64, 256])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_every_weight(bits, group_size, dtype, gpu, numerics):
    numerics.check_every_weight(bits, group_size, dtype, k=512, device="cuda", gpu=gpu)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", [None, 16, 64, 128])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_experts(bits, group_size, dtype):
    few = [4, 0, 7, 4, 4, 6, 0, 2]  # 8 stands for no expert; 1, 3 and 5 have no rows
    many = [(7 * i * i) % 5 for i in range(333)] + [6] * 70
    for ids, n, k in ((few, 192, 1024), ([*few, 8, 9, 8], 100, 1152), (many, 100, 1152)):
        packed = random_matrix((8, n, k), bits, group_size, dtype, device="cuda")
        x = random_rows((len(ids), k), dtype, device="cuda")
        expert = torch.tensor(ids, device="cuda")
        stack = prepare(packed)
        out = expert_linear(x, stack, expert)
        assert torch.count_nonzero(out[expert > 7]) == 0
        assert torch.equal(out, expert_linear(x, stack, expert))
        assert relative_error(out, expert_matmul_reference(x, packed, expert)) <= TOLERANCE[dtype]
        pairs = torch.stack((expert, expert.flip(0)), 1)
        gated = expert_linear(x, stack, pairs, activation="silu")
        reference = expert_matmul_reference(x, packed, pairs.flatten(), "silu")
        # n 100 has no halves of whole tiles: gate and up are rounded before they meet.
        assert relative_error(gated, reference) <= TOLERANCE[dtype] * (1 if n % 32 == 0 else 3)


@pytest.mark.parametrize("rows", [1, 16, 17, 64, 700])
@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, None), (3, 32), (4, 40)])
def test_the_way_in(bits, group_size, rows, numerics):
    """Few rows, many, and a group that the kernels do not know; x is [2, m, K]."""
    k = 800 if group_size == 40 else 768
    w = random_matrix((200, k), bits, group_size, torch.float16, device="cuda")
    x = random_rows((2, rows, k), torch.float16, device="cuda")
    bias = random_rows((200,), torch.float16, device="cuda")
    epilogue = numerics.Epilogue(bias)
    reference = numerics.decode_reference(x.flatten(0, 1), w, epilogue).view(2, rows, 200)
    for matrix in (w, prepare(w)):
        out = linear(x, matrix, bias)
        # A dequantized weight is rounded to 16 bits, and so are the sums and the bias.
        assert relative_error(out, reference) <= 2 * TOLERANCE[torch.float16]
        assert torch.equal(out, linear(x, matrix, bias))
    assert isinstance(prepare(w), DequantizedMatrix if group_size == 40 else TritonMatrix)
    assert path_name("cuda", bits) == "triton"


def test_float32_activations_are_dequantized():
    w = random_matrix((64, 256), 4, 64, device="cuda")
    x = random_rows((3, 256), torch.float32, device="cuda")
    reference = x.double() @ w.dequantize(torch.float64).mT
    assert relative_error(linear(x, prepare(w)), reference) <= 1e-3


def test_views_as_activations():
    w = prepare(packed := random_matrix((64, 256), 4, 64, device="cuda"))
    weights = packed.dequantize(torch.float64)
    wide = random_rows((5, 3, 512), torch.bfloat16, device="cuda")
    for x in (wide[:, 1, :256], wide[..., ::2], wide[:, :, 256:], wide[..., 3:259], wide[:, 2, 1:257]):
        assert relative_error(linear(x, w), x.double() @ weights.mT) <= TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize("m", [1, 5, 40])
def test_the_way_in_with_everything_around(m, numerics):
    packed = random_matrix((256, 512), 4, 64, device="cuda")
    w = prepare(packed)
    x = random_rows((m, 512), torch.bfloat16, device="cuda")
    residual = random_rows((m, 128), torch.bfloat16, 5, device="cuda")
    norm = Norm(random_rows((512,), torch.bfloat16, 6, device="cuda"), 1e-6)
    out = linear(x, w, residual=residual, activation="silu", norm=norm)
    reference = numerics.decode_reference(x, packed, numerics.Epilogue(None, residual, "silu", norm))
    # Around a plain product gate, up and their product are rounded before the sum is.
    assert relative_error(out, reference) <= TOLERANCE[torch.bfloat16] * (1 if m <= 32 else 3)


def test_captured_in_a_cuda_graph_without_synchronising():
    """A chain of products, each fed by the one before, replays from a graph; so does routing."""
    packed = [random_matrix((512, 512), 4, 64, seed=seed, device="cuda") for seed in range(4)]
    chain = [prepare(each) for each in packed]
    packed_stack = random_matrix((8, 256, 512), 4, 64, device="cuda")
    stack = prepare(packed_stack)
    x = random_rows((12, 512), torch.bfloat16, device="cuda")
    expert = torch.tensor([1, 1, 7, 0, 3, 3, 3, 3, 2, 0, 7, 7], device="cuda")

    def run(rows: torch.Tensor) -> torch.Tensor:
        for matrix in chain * 5:
            rows = linear(rows, matrix)
            rows = rows / rows.float().square().mean(-1, keepdim=True).sqrt().to(rows.dtype)
        for matrix in chain:  # kernels right after each other, whose starts overlap
            rows = linear(rows, matrix)
        return rows

    expected = run(x)
    expert_linear(x, stack, expert)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run(x)
        routed = expert_linear(x, stack, expert)
    expert.copy_(torch.tensor([5, 1, 0, 0, 6, 3, 2, 3, 2, 2, 7, 4]))
    for _ in range(20):
        out.zero_()
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(out, expected)
    reference = expert_matmul_reference(x, packed_stack, expert)
    assert relative_error(routed, reference) <= TOLERANCE[torch.bfloat16]
