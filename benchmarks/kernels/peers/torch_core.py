"""Peers in torch itself: tinygemm's int4 and the int8 operator."""

import torch
from torch import Tensor

from benchmarks.kernels.peers.peer import Packed, Peer, Tensors, UnsupportedError, require_bits
from benchmarks.kernels.weights import Weights

INNER_TILES = 8  # of 16 along K that lie together: what torchao asks for
GROUPS = (32, 64, 128, 256)


class TinyGemm(Peer):
    """`aten._weight_int4pack_mm`: (stored - 8) * scale + zero in bfloat16."""

    name = "tinygemm"
    dtypes = (torch.bfloat16,)

    def open(self) -> str:
        return f"torch {torch.__version__}"

    def pack(self, weights: Weights) -> Packed:
        require_bits(weights, 4)
        group = weights.scheme.group_size
        if group not in GROUPS:
            raise UnsupportedError(f"no groups of {group or 'a whole row'}")
        stored = (weights.codes + weights.zero).to(torch.uint8)
        # Two codes a byte, the first one in the upper half.
        pairs = (stored[:, ::2] << 4) | stored[:, 1::2]
        codes = torch.ops.aten._convert_weight_to_int4pack(pairs.contiguous(), INNER_TILES)
        scales = weights.scales.to(torch.bfloat16)
        # [groups, N, (scale, zero)]
        pairs_of_scales = torch.stack((scales, torch.zeros_like(scales)), -1).transpose(0, 1).contiguous()

        def call(tensors: Tensors, x: Tensor) -> Tensor:
            return torch.ops.aten._weight_int4pack_mm(x, tensors["codes"], group, tensors["scales"])

        return Packed({"codes": codes, "scales": pairs_of_scales}, call)


class Int8Pack(Peer):
    """`aten._weight_int8pack_mm`: int8 `[N, K]` with one scale a row."""

    name = "torch int8"
    dtypes = (torch.bfloat16,)
    tolerance = 2e-2

    def open(self) -> str:
        operator = torch.ops.aten._weight_int8pack_mm.default.name()
        if not torch._C._dispatch_has_kernel_for_dispatch_key(operator, "CUDA"):
            raise UnsupportedError(f"torch {torch.__version__} has its int8 operator for the CPU only")
        return f"torch {torch.__version__}"

    def pack(self, weights: Weights) -> Packed:
        require_bits(weights, 8)
        if weights.scheme.group_size is not None:
            raise UnsupportedError("one scale a row only")

        def call(tensors: Tensors, x: Tensor) -> Tensor:
            return torch.ops.aten._weight_int8pack_mm(x, tensors["codes"], tensors["scales"])

        return Packed({"codes": weights.codes, "scales": weights.scales[:, 0].contiguous()}, call)
