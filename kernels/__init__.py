"""Fused dequantize + matmul on packed weights: Triton kernels, each beside its plain PyTorch reference."""

import kernels.operators  # noqa: F401 — makes them known to torch
from kernels.epilogue import Activation, Norm
from kernels.linear import expert_linear, linear, path_name, prepare
from kernels.packed_matrix import PackedMatrix
from kernels.prepared import PreparedMatrix

__all__ = [
    "Activation",
    "Norm",
    "PackedMatrix",
    "PreparedMatrix",
    "expert_linear",
    "linear",
    "path_name",
    "prepare",
]
