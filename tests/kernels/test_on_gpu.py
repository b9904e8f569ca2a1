"""The kernels on a real GPU: the interpreter's checks on compiled code, and what only a GPU can show."""

import importlib
from types import ModuleType

import pytest
import torch

from kernels import expert_linear, linear, path_name, prepare
from kernels.experts import expert_matmul_reference
from kernels.gpu import TritonMatrix, gpu_of
from kernels.matmul import matmul_reference
from kernels.tiles import Gpu, fused_rows
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine"),
]

GROUPS = (None, 16, 32, 64, 128, 256)
DTYPES = (torch.float16, torch.bfloat16)
ROWS = (1, 9, 16, 17, 64, 256)  # every tile
# Multiples of no tile, and of no step where the group allows; odd for channel.
RAGGED_K = {None: 1003, 16: 1040, 32: 1056, 64: 1088, 128: 1152, 256: 1280}


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
    for number, m in enumerate(ROWS):
        for n, k in ((192, 1024), (100, RAGGED_K[group_size])):
            numerics.check_matmul(
                bits, group_size, dtype, m, n, k, with_bias=True, seed=number, device="cuda", gpu=gpu,
            )  # fmt: skip


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_large_matrix_in_parts_and_whole(bits, gpu, numerics):
    for m, split in ((1, None), (16, 1), (16, 7), (40, 3)):
        numerics.check_matmul(
            bits, 64, torch.bfloat16, m, 4096, 4096, split=split, device="cuda", gpu=gpu, scales_along_n=m > 1
        )


@pytest.mark.parametrize("scale_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_scales_of_another_dtype(bits, dtype, scale_dtype, gpu, numerics):
    for group_size in (None, 32, 64):
        numerics.check_matmul(
            bits, group_size, dtype, 5, 96, 512, scale_dtype=scale_dtype, device="cuda", gpu=gpu
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_every_weight(bits, group_size, dtype, gpu, numerics):
    numerics.check_every_weight(bits, group_size, dtype, k=256, device="cuda", gpu=gpu)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", [None, 16, 64, 128])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_experts(bits, group_size, dtype, gpu, numerics):
    few = [4, 0, 7, 4, 4, 6, 0, 2]  # 8 stands for no expert; 1, 3 and 5 have no rows
    numerics.check_experts(bits, group_size, dtype, few, 8, 192, 1024, device="cuda", gpu=gpu)
    numerics.check_experts(bits, group_size, dtype, [*few, 8, 9, 8], 8, 100, 1152, device="cuda", gpu=gpu)
    many = [(7 * i * i) % 5 for i in range(333)] + [6] * 70
    numerics.check_experts(bits, group_size, dtype, many, 8, 100, 1152, device="cuda", gpu=gpu)


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_dequantize(bits, numerics):
    for group_size, k in ((None, 77), (16, 1040), (64, 4096), (256, 2304)):
        for dtype in DTYPES:
            numerics.check_dequantize(bits, group_size, dtype, k, device="cuda")


@pytest.mark.parametrize("rows", ["one", "last fused", "first sliced", "many"])
@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, None), (3, 32), (4, 48)])
def test_the_way_in(bits, group_size, rows, monkeypatch):
    """Fused, sliced for long prompts, and dequantized for a group that the kernels do not know."""
    monkeypatch.setattr("kernels.gpu.slice_rows", lambda k: 64)
    # x is [2, m, K], so it has an even number of rows.
    m = {
        "one": 1,
        "last fused": fused_rows(bits) // 2,
        "first sliced": fused_rows(bits) // 2 + 1,
        "many": 700,
    }[rows]
    w = random_matrix((200, 768), bits, group_size, torch.float16, device="cuda")
    x = random_rows((2, m, 768), torch.float16, device="cuda")
    bias = random_rows((200,), torch.float16, device="cuda")
    reference = matmul_reference(x.flatten(0, 1), w, bias).view(2, m, 200)
    for matrix in (w, prepare(w)):
        out = linear(x, matrix, bias)
        # A dequantized group of 48 rounds weights, sums and the bias to 16 bits one after the other.
        assert relative_error(out, reference) <= TOLERANCE[torch.float16] * (2 if group_size == 48 else 1)
        assert torch.equal(out, linear(x, matrix, bias))
    assert isinstance(prepare(w), TritonMatrix) == (group_size != 48)
    assert path_name("cuda", bits) == "triton"


def test_float32_activations_are_dequantized():
    w = random_matrix((64, 256), 4, 64, device="cuda")
    x = random_rows((3, 256), torch.float32, device="cuda")
    assert relative_error(linear(x, prepare(w)), matmul_reference(x, w, None)) <= 1e-3


def test_views_as_activations():
    w = random_matrix((64, 256), 4, 64, device="cuda")
    wide = random_rows((5, 3, 512), torch.bfloat16, device="cuda")
    for x in (wide[:, 1, :256], wide[..., ::2], wide[:, :, 256:]):
        reference = matmul_reference(x.reshape(-1, 256), w, None).view(*x.shape[:-1], 64)
        assert relative_error(linear(x, w), reference) <= TOLERANCE[torch.bfloat16]


def test_captured_in_a_cuda_graph_without_synchronising():
    """Linear and experts replay from a graph, which forbids every wait for the device during capture."""
    w = prepare(random_matrix((256, 512), 4, 64, device="cuda"))
    packed_stack = random_matrix((8, 256, 512), 4, 64, device="cuda")
    stack = prepare(packed_stack)
    x = random_rows((12, 512), torch.bfloat16, device="cuda")
    expert = torch.tensor([1, 1, 7, 0, 3, 3, 3, 3, 2, 0, 7, 7], device="cuda")
    expected = linear(x, w)
    expert_linear(x, stack, expert)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = linear(x, w)
        routed = expert_linear(x, stack, expert)
    expert.copy_(torch.tensor([5, 1, 0, 0, 6, 3, 2, 3, 2, 2, 7, 4]))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, expected)
    reference = expert_matmul_reference(x, packed_stack, expert)
    assert relative_error(routed, reference) <= TOLERANCE[torch.bfloat16]
