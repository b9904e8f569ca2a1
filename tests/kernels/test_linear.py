# ruff: noqa: PLR0917 — a case has as many parts as it has
"""The way in, on the CPU: right for every scheme and shape, prepared or not, and without Triton."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import PackedMatrix, expert_linear, linear, path_name, prepare
from kernels.cpu import INT4_OPERATOR_ROWS, Int4OpMatrix, Int8OpMatrix, has_vector_code
from kernels.cpu_blocks import multiply_blocks, outputs_of_block
from kernels.decode import decode_reference
from kernels.epilogue import Epilogue
from kernels.experts import expert_matmul_reference
from kernels.prepared import DequantizedMatrix, multiplied_in
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error

BITS = st.sampled_from([8, 4, 3])
GROUPS = st.sampled_from([None, 16, 32, 48, 64, 128, 256, 512])
DTYPES = st.sampled_from([torch.bfloat16, torch.float16, torch.float32])
# Two roundings to bfloat16 meet on the CPU: of the result and, in the int8 path, of the scaled sum.
CPU_TOLERANCE = TOLERANCE | {torch.bfloat16: 6e-3}


@settings(deadline=None, max_examples=60)
@given(
    bits=BITS, group_size=GROUPS, dtype=DTYPES, prepared=st.booleans(), with_bias=st.booleans(),
    m=st.integers(1, 40), n=st.integers(20, 70), groups=st.integers(1, 4),
    k=st.integers(1, 300), data=st.data(),
)  # fmt: skip
def test_linear_against_float64(bits, group_size, dtype, prepared, with_bias, m, n, groups, k, data):
    k = k if group_size is None else groups * group_size
    seed = data.draw(st.integers(0, 99))
    w = random_matrix((n, k), bits, group_size, torch.bfloat16, seed)
    x = random_rows((m, k), dtype, seed + 1)
    bias = random_rows((n,), dtype, seed + 2) if with_bias else None
    out = linear(x, prepare(w, "cpu", dtype) if prepared else w, bias)
    assert out.dtype == dtype
    assert out.shape == (m, n)
    assert relative_error(out, decode_reference(x, w, Epilogue(bias))) <= CPU_TOLERANCE[dtype]


@pytest.mark.skipif(not has_vector_code(), reason="torch has no vector code for its low-bit operators here")
@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (8, None)])
def test_many_rows_are_multiplied_in_float32_where_bfloat16_has_no_code(bits, group_size, monkeypatch):
    met = []
    multiply = torch.mm
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(
        torch, "mm", lambda x, *rest, **more: met.append(x.dtype) or multiply(x, *rest, **more)
    )
    w, x = random_matrix((64, 256), bits, group_size), random_rows((130, 256), torch.bfloat16)
    out = linear(x, prepare(w))
    assert out.dtype == torch.bfloat16
    assert relative_error(out, decode_reference(x, w)) <= CPU_TOLERANCE[torch.bfloat16]
    assert set(met) == {torch.float32}
    assert multiplied_in(torch.bfloat16, "cpu") == torch.float32
    assert multiplied_in(torch.bfloat16, "cuda") == torch.bfloat16


@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (3, 32), (8, None)])
def test_rows_with_a_gap_between_them(bits, group_size):
    w = random_matrix((48, 256), bits, group_size)
    x = random_rows((5, 320), torch.bfloat16)[:, :256]
    assert relative_error(linear(x, prepare(w)), decode_reference(x, w)) <= CPU_TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize(("bits", "group_size"), [(4, 64), (3, 32), (8, None), (8, 16)])
def test_experts_against_float64(bits, group_size, prepared):
    w = random_matrix((4, 24, 128), bits, group_size)
    x = random_rows((19, 128), torch.bfloat16)
    expert = torch.tensor(
        [3, 0, 0, 3, 5, 0, 1, 3, 3, 0, 4, 1, 0, 0, 3, 3, 1, 0, 0]
    )  # none for 2; 4 and 5: no expert
    out = expert_linear(x, prepare(w) if prepared else w, expert)
    assert relative_error(out, expert_matmul_reference(x, w, expert)) <= CPU_TOLERANCE[torch.bfloat16]
    assert torch.count_nonzero(out[expert > 3]) == 0


@pytest.mark.parametrize("prepared", [False, True])
def test_several_experts_a_row_with_a_gate(prepared):
    w = random_matrix((4, 64, 128), 4, 32)
    x = random_rows((3, 128), torch.bfloat16)
    expert = torch.tensor([[3, 0], [0, 4], [1, 3]])
    out = expert_linear(x, prepare(w) if prepared else w, expert, activation="silu")
    reference = expert_matmul_reference(x, w, expert.flatten(), "silu")
    assert relative_error(out, reference) <= 2 * CPU_TOLERANCE[torch.bfloat16]
    assert out.shape == (6, 32)
    assert torch.count_nonzero(out[3]) == 0


def test_many_rows_take_the_other_int8_way():
    w = random_matrix((48, 96), 8, None)
    x = random_rows((33, 96), torch.bfloat16)
    matrix = prepare(w)
    assert relative_error(linear(x, matrix), decode_reference(x, w)) <= CPU_TOLERANCE[torch.bfloat16]
    assert relative_error(linear(x[:5], matrix), decode_reference(x[:5], w)) <= CPU_TOLERANCE[torch.bfloat16]


def test_leading_dimensions_views_and_empty_batches():
    w = random_matrix((24, 64), 4, 32)
    x = random_rows((2, 3, 128), torch.bfloat16)[..., ::2]
    for matrix in (w, prepare(w)):
        out = linear(x, matrix)
        assert out.shape == (2, 3, 24)
        assert relative_error(out[1], decode_reference(x[1], w)) <= CPU_TOLERANCE[torch.bfloat16]
        assert linear(x[:0], matrix).shape == (0, 3, 24)
        assert linear(x[0, 0], matrix).shape == (24,)
    stack = random_matrix((2, 24, 64), 4, 32)
    assert expert_linear(x[0, :0], stack, torch.zeros(0, dtype=torch.int64)).shape == (0, 24)


@pytest.mark.skipif(not has_vector_code(), reason="torch has no vector code for its low-bit operators here")
@pytest.mark.parametrize(
    ("bits", "group_size", "kind", "bits_held"),
    [
        (4, 64, Int4OpMatrix, 4.5),  # bfloat16 scale and zero a group
        (4, None, Int4OpMatrix, 4.125),
        (3, 64, Int4OpMatrix, 4.5),
        (4, 16, Int4OpMatrix, 10),  # stored as groups of 32
        (8, None, Int8OpMatrix, 8.125),
        (8, 64, Int4OpMatrix, 9),
        (8, 16, DequantizedMatrix, 9),
    ],
)
def test_what_is_held_for_bfloat16(bits, group_size, kind, bits_held):
    matrix = prepare(random_matrix((64, 512), bits, group_size))
    assert isinstance(matrix, kind)
    assert matrix.bytes * 8 / (64 * 512) <= bits_held


@pytest.mark.skipif(not has_vector_code(), reason="torch has no vector code for its low-bit operators here")
@pytest.mark.parametrize(
    ("bits", "group_size"), [(4, None), (4, 16), (4, 64), (3, None), (3, 16), (3, 64), (8, 32), (8, 64)]
)
@pytest.mark.parametrize(("n", "in_blocks"), [(128, True), (96, True), (80, False), (70, False)])
def test_many_rows_meet_weights_that_were_dequantized_in_blocks(bits, group_size, n, in_blocks, monkeypatch):
    monkeypatch.setattr("kernels.prepared.SLICE_BYTES", {"cpu": 2 * 512 * 64, "cuda": 1})
    w = random_matrix((n, 512), bits, group_size)
    matrix = prepare(w)
    x = random_rows((INT4_OPERATOR_ROWS + 1, 512), torch.bfloat16)
    bias = random_rows((n,), torch.bfloat16, 5)
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        in_blocks = n % 64 == 0  # the blocks of AVX2 are half as large
    assert (matrix.block is not None) == in_blocks
    exact = x.double() @ w.dequantize(torch.float32).double().mT + bias.double()
    taken = []

    def noted(x, *others):
        taken.append(len(x))
        return multiply_blocks(x, *others)

    monkeypatch.setattr("kernels.cpu.multiply_blocks", noted)
    few = INT4_OPERATOR_ROWS // matrix.copies
    for rows in (few + 1, few):  # the operator after the blocks: they leave the codes as they were
        error = relative_error(linear(x[:rows], matrix, bias), exact[:rows])
        assert error <= CPU_TOLERANCE[torch.bfloat16]
    assert taken == ([few + 1] if in_blocks else [])


@pytest.mark.skipif(not has_vector_code(), reason="torch has no vector code for its low-bit operators here")
@pytest.mark.parametrize("slice_rows", [64, 128, 1000])
def test_weights_in_blocks_are_those_of_the_matrix(slice_rows, monkeypatch):
    monkeypatch.setattr("kernels.prepared.SLICE_BYTES", {"cpu": 2 * 128 * slice_rows, "cuda": 1})
    w = random_matrix((320, 128), 4, 32)
    matrix = prepare(w)
    scales = matrix.scales_and_zeros[..., 0]
    for _ in range(2):
        unit = multiply_blocks(torch.eye(128).bfloat16(), matrix.codes, scales, matrix.block)
        assert torch.equal(unit.mT, w.dequantize(torch.bfloat16))


def test_a_layout_that_is_not_known_is_left_to_the_operator():
    stored = torch.randint(0, 16, (64, 64), dtype=torch.uint8)
    codes = torch.ops.aten._convert_weight_to_int4pack_for_cpu(stored.int(), 1)
    assert outputs_of_block(codes.flip(0), stored) is None
    assert outputs_of_block(codes, stored.flip(0)) is None


def test_other_dtypes_are_dequantized_and_a_wrong_one_is_refused():
    w = random_matrix((16, 64), 4, 32)
    assert isinstance(prepare(w, dtype=torch.float32), DequantizedMatrix)
    matrix = prepare(w)
    if isinstance(matrix, Int4OpMatrix):
        with pytest.raises(ValueError, match="bfloat16"):
            linear(random_rows((1, 64), torch.float16), matrix)


def test_refusals():
    w = random_matrix((16, 64), 4, 32)
    stack = random_matrix((2, 16, 64), 4, 32)
    with pytest.raises(ValueError, match="32 features"):
        linear(random_rows((1, 32), torch.bfloat16), w)
    with pytest.raises(ValueError, match="matrix on meta"):
        linear(random_rows((1, 64), torch.bfloat16), w.to("meta"))
    with pytest.raises(ValueError, match=r"\[T\]"):
        expert_linear(random_rows((2, 64), torch.bfloat16), stack, torch.zeros(3, dtype=torch.int64))


def test_path_names():
    assert path_name("cpu", 16) == "16-bit"
    assert path_name("cpu", 4, torch.float32) == "cpu dequantize"
    expected = "cpu int4 op" if has_vector_code() else "cpu dequantize"
    assert path_name("cpu", 4) == path_name("cpu", 3) == expected
    assert "Triton" in path_name("xpu", 4)


def test_slices_do_not_change_the_result(monkeypatch):
    w = random_matrix((40, 64), 4, 32)
    x = random_rows((3, 64), torch.float32)
    whole = linear(x, w)
    monkeypatch.setattr("kernels.prepared.SLICE_BYTES", {"cpu": 7 * 64 * 2, "cuda": 1})
    assert torch.allclose(linear(x, w), whole, rtol=1e-6, atol=1e-6)


def test_importing_the_room_loads_no_triton():
    code = "import sys, kernels, torch; kernels.path_name('cpu', 4); sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert PackedMatrix.__module__ == "kernels.packed_matrix"
