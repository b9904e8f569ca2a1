"""Repacking, dequantizing, prefill: bit for bit what plain PyTorch gives, in the interpreter and on a GPU."""

import pytest
import torch

from kernels.dequantize import dequantize_reference, dequantize_rows
from kernels.lane_layout import to_lanes
from kernels.prefill import Prefill
from kernels.repack import repack, unpack_lanes
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float16, torch.bfloat16)
# Whole steps, ragged columns, single words, both forms of the lane order.
SHAPES = ((64, 256), (64, 320), (None, 77), (48, 144), (512, 512))


@pytest.mark.parametrize(("group_size", "k"), SHAPES)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_repack_there_and_back(bits, group_size, k):
    for shape in ((16, k), (2, 21, k)):
        packed = random_matrix(shape, bits, group_size, torch.bfloat16, device=DEVICE)
        expected = to_lanes(packed, torch.float16)
        lanes = repack(packed, torch.float16)
        assert torch.equal(lanes.words, expected.words)
        assert torch.equal(lanes.scales, expected.scales)
        again = unpack_lanes(lanes)
        assert torch.equal(again.codes, packed.codes)
        assert torch.equal(again.scales, packed.scales.half())


@pytest.mark.parametrize(("group_size", "k"), SHAPES)
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_dequantize_rounds_once(bits, group_size, k):
    scale_dtype = torch.bfloat16 if k % 3 else torch.float16
    lanes = to_lanes(random_matrix((21, k), bits, group_size, scale_dtype, device=DEVICE), scale_dtype)
    for dtype in DTYPES if k == 320 else (scale_dtype,):
        expected = dequantize_reference(lanes, dtype)
        out = dequantize_rows(lanes, torch.full((21, k), torch.nan, dtype=dtype, device=DEVICE))
        assert torch.equal(out, expected)
        part = dequantize_rows(lanes, torch.full((3, k), torch.nan, dtype=dtype, device=DEVICE), 16)
        assert torch.equal(part, expected[16:19])


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_dequantize_one_expert(bits):
    lanes = to_lanes(random_matrix((2, 21, 192), bits, 64, torch.float16, device=DEVICE), torch.float16)
    expected = dequantize_reference(lanes, torch.float16)
    for expert in range(2):
        out = torch.full((5, 192), torch.nan, dtype=torch.float16, device=DEVICE)
        assert torch.equal(dequantize_rows(lanes, out, 16, expert), expected[expert, 16:])


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("slice_rows", [16, 48, 2048])
def test_prefill(slice_rows, with_bias):
    lanes = to_lanes(random_matrix((70, 192), 4, 64, torch.float16, device=DEVICE), torch.float16)
    x = random_rows((40, 192), torch.float16, device=DEVICE)
    bias = random_rows((70,), torch.float16, device=DEVICE) if with_bias else None
    out = Prefill(lanes, torch.float16, slice_rows).multiply(x, bias)
    exact = x.double() @ dequantize_reference(lanes, torch.float16).double().mT
    # The weights are rounded to 16 bits, and with a bias the sum may be rounded before it.
    assert relative_error(out, exact + (0 if bias is None else bias.double())) <= 2 * TOLERANCE[torch.float16]


@pytest.mark.skipif(DEVICE == "cpu", reason="no CUDA GPU on this machine")
def test_prefill_in_a_cuda_graph():
    """Captured, replayed with other activations, the same bit for bit."""
    lanes = to_lanes(random_matrix((2048, 512), 4, 64, torch.bfloat16, device=DEVICE), torch.bfloat16)
    x = random_rows((300, 512), torch.bfloat16, device=DEVICE)
    prefill = Prefill(lanes, torch.bfloat16, 256)
    prefill.multiply(x, None)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        first = prefill.multiply(x, None)
        second = prefill.multiply(x, None)
    x.copy_(random_rows((300, 512), torch.bfloat16, seed=5, device=DEVICE))
    graph.replay()
    torch.cuda.synchronize()
    expected = prefill.multiply(x, None)
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)
