"""bitsandbytes: 4-bit normal floats, and its 8-bit product of quantized weights and activations."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.kernels.peers.peer import Packed, Peer, Tensors, UnsupportedError, require_bits
from benchmarks.kernels.weights import Weights

BLOCK = 64  # its default


class Nf4(Peer):
    """`gemm_4bit` on nf4 in blocks of 64 with a float32 scale each: 4.5 bits a weight, values of its own."""

    name = "bitsandbytes nf4"

    def open(self) -> str:
        import bitsandbytes
        from bitsandbytes import functional

        self.library: Any = bitsandbytes
        self.functional: Any = functional
        return f"bitsandbytes {bitsandbytes.__version__}"

    def pack(self, weights: Weights) -> Packed:
        require_bits(weights, 4)
        dense = weights.dequantize(weights.dtype).contiguous()
        codes, state = self.functional.quantize_4bit(dense, blocksize=BLOCK, quant_type="nf4")
        reference = self.functional.dequantize_4bit(codes, state)

        def call(tensors: Tensors, x: Tensor) -> Tensor:
            return torch.ops.bitsandbytes.gemm_4bit.default(
                x, tensors["codes"], list(state.shape), tensors["absmax"], state.blocksize, state.quant_type
            )

        if not hasattr(torch.ops.bitsandbytes, "gemm_4bit"):
            raise UnsupportedError("this release has no fused 4-bit product")
        return Packed({"codes": codes, "absmax": state.absmax}, call, reference)


class Int8(Peer):
    """LLM.int8() without outliers: x is quantized row by row, then an int8 product and a rescaling."""

    name = "bitsandbytes int8"
    dtypes = (torch.float16,)
    tolerance = 5e-2  # x has 8 bits

    def open(self) -> str:
        import bitsandbytes

        return f"bitsandbytes {bitsandbytes.__version__}"

    def pack(self, weights: Weights) -> Packed:
        require_bits(weights, 8)
        if weights.scheme.group_size is not None:
            raise UnsupportedError("one scale a row only")
        # Its statistics are the largest magnitude of a row, which the code 127 stands for.
        largest = weights.scales[:, 0].float() * 127

        def call(tensors: Tensors, x: Tensor) -> Tensor:
            rows, statistics, _ = torch.ops.bitsandbytes.int8_vectorwise_quant.default(x, 0.0)
            return torch.ops.bitsandbytes.int8_scaled_mm.default(
                rows, tensors["codes"], statistics, tensors["largest"], None, x.dtype
            )

        return Packed({"codes": weights.codes, "largest": largest}, call)
