"""Routed rows: each row of x meets the matrix of its own expert.

out[t, n] = Σ_k x[t, k] * weight[expert[t], n, k]
"""

import torch
from torch import Tensor

from kernels.packed_matrix import PackedMatrix


def expert_matmul_reference(x: Tensor, w: PackedMatrix, expert: Tensor) -> Tensor:
    """The same in plain PyTorch and float64, row by row `[T, N]`."""
    out = torch.zeros((x.shape[0], w.n), dtype=torch.float64, device=x.device)
    for row, number in enumerate(expert.tolist()):
        if number < w.codes.shape[0]:
            out[row] = w.expert(number).dequantize(torch.float64) @ x[row].double()
    return out
