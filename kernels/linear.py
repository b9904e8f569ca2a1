"""The way in: prepare a packed matrix once, multiply with it, say which path runs."""

import torch
from torch import Tensor

from kernels.cpu import path_on_cpu, prepare_for_cpu
from kernels.epilogue import Activation, Epilogue, Norm, ScaledRows
from kernels.gpu import prepare_for_gpu, why_not_fused
from kernels.packed_matrix import PackedMatrix
from kernels.prepared import DequantizedMatrix, PreparedMatrix

CPU_DTYPE = torch.bfloat16  # the only one that torch's low-bit operators are fast for


def prepare(
    w: PackedMatrix, device: torch.device | str | None = None, dtype: torch.dtype = CPU_DTYPE
) -> PreparedMatrix:
    """Bring `w` to `device` (default: where it is) in the form that multiplies fastest there.

    `dtype` is the activations': on the CPU the form is made for it, on a GPU float16 and bfloat16 both go.
    On a GPU this waits until the matrix is ready.
    `w` itself is not needed afterwards. Call it once a matrix, at load.
    """
    moved = w if device is None else w.to(device)
    on_cpu = moved.device.type == "cpu"
    matrix = prepare_for_cpu(moved, dtype) if on_cpu else prepare_for_gpu(moved, dtype)
    matrix.take_number()
    return matrix


def linear(
    x: Tensor,
    w: PackedMatrix | PreparedMatrix,
    bias: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    activation: Activation | None = None,
    norm: Norm | None = None,
) -> Tensor:
    """x `[..., K]` times `w` `[N, K]` plus bias `[N]` → `[..., N]` in x's dtype, sums in float32.

    `norm` is applied to x first. An `activation` takes the first half of the N outputs as gate and gives
    activation(gate) * second half, `[..., N / 2]`. `residual`, of the result's shape, is added last. On a GPU
    with few rows of x all of it is one launch.

    Takes a `PreparedMatrix` (fast) or a `PackedMatrix` (right, but dequantized in every call). Raises
    ValueError where shapes, dtypes or devices do not belong together.
    """
    matrix = w if isinstance(w, PreparedMatrix) else as_it_lies(w, x)
    if x.shape[-1] != matrix.k:
        raise ValueError(f"x has {x.shape[-1]} features, the matrix takes {matrix.k}")
    if torch.compiler.is_compiling() and matrix.number:
        outputs = Epilogue(activation=activation).outputs(matrix.n)
        of_norm = (None, 0.0) if norm is None else (norm.weight, norm.eps)
        out: Tensor = torch.ops.fqconsole.linear(
            x, matrix.number, outputs, bias, residual, activation or "", *of_norm
        )
        return out
    rows = rows_of(x, matrix)
    if residual is None and activation is None and norm is None:
        product = matrix.multiply(rows, bias) if rows.shape[0] else x.new_empty((0, matrix.n))
        return product if x.dim() == 2 else product.view(*x.shape[:-1], matrix.n)
    outputs = Epilogue(activation=activation).outputs(matrix.n)
    shape = (*x.shape[:-1], outputs)
    if residual is not None:
        if residual.shape != shape or residual.dtype != x.dtype:
            raise ValueError(f"residual {list(residual.shape)} must be {list(shape)} in {x.dtype}")
        residual = residual.reshape(-1, outputs).contiguous()
    if norm is not None and norm.weight.shape != x.shape[-1:]:
        raise ValueError(f"the norm has {norm.weight.shape[0]} weights for {x.shape[-1]} features")
    if not rows.shape[0]:
        return x.new_empty(shape)
    return matrix.multiply_with(rows, Epilogue(bias, residual, activation, norm)).view(shape)


def linear_and_scaled(
    x: Tensor,
    w: PreparedMatrix,
    bias: Tensor | None = None,
    *,
    residual: Tensor | None = None,
    following: Norm,
) -> tuple[Tensor, ScaledRows | None]:
    """`linear`, and its result `[M, N]` on its way through `following`, the norm of the next product.

    None where no launch makes both: the next product then norms for itself. x is `[M, K]`. Raises what
    `linear` raises.
    """
    if torch.compiler.is_compiling() or x.dim() != 2 or x.shape[-1] != w.k or not len(x):
        return linear(x, w, bias, residual=residual), None
    if residual is not None and (residual.shape != (len(x), w.n) or not residual.is_contiguous()):
        return linear(x, w, bias, residual=residual), None
    return w.multiply_and_scale(rows_of(x, w), Epilogue(bias, residual), following)


def expert_linear(
    x: Tensor,
    w: PackedMatrix | PreparedMatrix,
    expert: Tensor,
    *,
    activation: Activation | None = None,
) -> Tensor:
    """x `[T, K]`, `w` a stack `[E, N, K]`, expert int `[T]` → `[T, N]`: row t meets matrix `expert[t]`.

    expert `[T, k]`: each row meets k of them, `[T k, N]`. An `activation` gives activation(first half of the
    N) * second half, `[T, N / 2]`. Ids are not negative; a row with an id of E or more is zero. On CUDA
    nothing waits for the device.
    """
    matrix = w if isinstance(w, PreparedMatrix) else as_it_lies(w, x)
    if x.dim() != 2 or expert.dim() not in (1, 2) or expert.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"x {list(x.shape)} and expert {list(expert.shape)} must be [T, K] and [T] or [T, k]"
        )
    if x.shape[-1] != matrix.k:
        raise ValueError(f"x has {x.shape[-1]} features, the matrices take {matrix.k}")
    outputs = Epilogue(activation=activation).outputs(matrix.n)
    if torch.compiler.is_compiling() and matrix.number:
        out: Tensor = torch.ops.fqconsole.expert_linear(x, matrix.number, outputs, expert, activation or "")
        return out
    rows, expert = rows_of(x, matrix), expert.reshape(-1)
    if not rows.shape[0]:
        return x.new_empty((0, outputs))
    if activation is None:
        return matrix.multiply_by_expert(rows, expert)
    return matrix.gate_by_expert(rows, expert, activation)


def path_name(device: torch.device | str, bits: int, dtype: torch.dtype = CPU_DTYPE) -> str:
    """Which matmul runs for `bits` on `device`, in the operator's words: "triton", "cpu int4 op", …"""
    device = torch.device(device)
    if bits == 16:
        return "16-bit"
    if device.type == "cpu":
        return path_on_cpu(bits, dtype)
    reason = why_not_fused(device)
    return f"dequantize ({reason})" if reason else "triton"


def as_it_lies(w: PackedMatrix, x: Tensor) -> PreparedMatrix:
    """An unprepared matrix, for one multiplication."""
    if w.device != x.device:
        raise ValueError(f"x lies on {x.device}, the matrix on {w.device}")
    return DequantizedMatrix(w, path="cpu dequantize" if w.device.type == "cpu" else "dequantize")


def rows_of(x: Tensor, matrix: PreparedMatrix) -> Tensor:
    """x as `[M, K]` with contiguous rows, which need not follow each other without a gap."""
    rows = x if x.dim() == 2 else x.reshape(-1, matrix.k)
    return rows if rows.stride(-1) == 1 or rows.shape[-1] == 1 else rows.contiguous()
