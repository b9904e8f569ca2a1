"""Fused dequantize + matmul on packed weights, and what stands between two of them: Triton kernels, each
beside its plain PyTorch reference.
"""

import kernels.operators  # noqa: F401 — makes them known to torch
from kernels.attention import attend, attend_prompt, attend_rows
from kernels.choice import Filters, choose
from kernels.epilogue import Activation, Norm, ScaledRows
from kernels.key_values import KeyValueCache
from kernels.linear import expert_linear, linear, linear_and_scaled, path_name, prepare
from kernels.newest_token import rotate_and_attend
from kernels.norms import norm
from kernels.packed_matrix import PackedMatrix
from kernels.prepared import PreparedMatrix
from kernels.rotary import rotate_and_store, rotate_and_store_latent
from kernels.routing import combine, gate, route, router_scores

__all__ = [
    "Activation",
    "Filters",
    "KeyValueCache",
    "Norm",
    "PackedMatrix",
    "PreparedMatrix",
    "ScaledRows",
    "attend",
    "attend_prompt",
    "attend_rows",
    "choose",
    "combine",
    "expert_linear",
    "gate",
    "linear",
    "linear_and_scaled",
    "norm",
    "path_name",
    "prepare",
    "rotate_and_attend",
    "rotate_and_store",
    "rotate_and_store_latent",
    "route",
    "router_scores",
]
