"""Many rows of x: unpack a slice of the weights into 16 bits, let cuBLAS multiply it, and so on.

    out[:, slice] = x · weights[slice]ᵀ + bias[slice]

A slice is small enough to stay in L2 between the two, so its 16-bit weights hardly travel to memory, and with
2048 rows it is large enough to fill the GPU. On an H200 and 4096 rows of x other sizes of slices were slower;
unpacking the next slice on a second stream was faster for one of four shapes and slower for the others.
"""

import torch
from torch import Tensor

from kernels.dequantize import Dequantize
from kernels.lane_layout import LaneMatrix

SLICE_ROWS = 2048  # a multiple of every tile of cuBLAS, so that each slice of the result starts aligned


class Prefill:
    """Multiplies one matrix with many rows of x of `dtype`, `slice_rows` of the weights at a time."""

    def __init__(self, lanes: LaneMatrix, dtype: torch.dtype, slice_rows: int = SLICE_ROWS) -> None:
        self.lanes = lanes
        self.slice_rows = slice_rows
        self.unpack = Dequantize(lanes, dtype)

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x `[M, k]`, contiguous rows → `[M, n]` in x's dtype, on the current device and stream."""
        n = self.lanes.n
        buffer = x.new_empty((min(self.slice_rows, n), self.lanes.k))
        out = x.new_empty((x.shape[0], n))
        for start in range(0, n, self.slice_rows):
            stop = min(start + self.slice_rows, n)
            weights = self.unpack(buffer[: stop - start], start)
            if bias is None:
                torch.mm(x, weights.mT, out=out[:, start:stop])
            else:
                torch.addmm(bias[start:stop], x, weights.mT, out=out[:, start:stop])
        return out
