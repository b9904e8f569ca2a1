"""Many rows of x: unpack a slice of the weights into 16 bits, let cuBLAS multiply it, and so on.

    out[:, slice] = x · weights[slice]ᵀ + bias[slice]

A slice is small enough to stay in L2 between the two, so the 16-bit weights never travel to memory, and is
cut where the tiles of cuBLAS (128 x 256 here, one a multiprocessor) fill whole waves. With two buffers the
next slice is unpacked, on a stream of its own, while this one is multiplied: it gets the multiprocessors that
the last wave leaves idle.

    main stream   │ unpack 0 │ multiply 0 ────────│ multiply 1 ────────│ multiply 2 …
    side stream              │ unpack 1 (buffer 1)│ unpack 2 (buffer 0)│ unpack 3 …
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.dequantize import Dequantize
from kernels.lane_layout import LaneMatrix
from kernels.tiles import Gpu

TILE_M = 128
TILE_N = 256
SLICE_BYTES = 32 << 20  # what stays in L2
LARGEST_BUFFER = 256 << 20  # of a matrix that is not cut
# In waves, on an H100: launches and filling the multiprocessors again; and, for each weight row, from L2 to
# memory and back at 2.5 TB/s, beside a tile of 2 * 128 * 256 * k operations at 6 TFLOP/s a multiprocessor.
COST_OF_SLICE = 0.1
COST_OF_TRAVEL = 4 / 2.5e12 * 6e12 / (2 * TILE_M * TILE_N)


@dataclass(frozen=True)
class Slices:
    """How a matrix is cut: `rows` of the weights a slice, and how they are unpacked.

    `buffers` 2 unpacks the next slice beside the multiplication, with at most `programs` programs (0: no
    limit) of `warps` warps.
    """

    rows: int
    buffers: int = 1
    programs: int = 0
    warps: int = 4


def waves_of(m: int, rows: int, multiprocessors: int) -> int:
    """Waves of tiles that x `[m, K]` times `rows` weight rows takes."""
    return math.ceil(math.ceil(m / TILE_M) * math.ceil(rows / TILE_N) / multiprocessors)


def choose_rows(m: int, n: int, k: int, multiprocessors: int, slice_bytes: int = SLICE_BYTES) -> int:
    """Rows of a slice, a multiple of 256 unless all `n`.

    The fewest waves and slices within `slice_bytes`; or all, where that costs less although it goes through
    memory.
    """
    most = max(TILE_N, slice_bytes // (2 * k) // TILE_N * TILE_N)
    if n <= most:
        return n

    def cost(rows: int) -> float:
        whole, rest = divmod(n, rows)
        waves = whole * waves_of(m, rows, multiprocessors)
        waves += waves_of(m, rest, multiprocessors) if rest else 0
        return waves + COST_OF_SLICE * (whole + bool(rest))

    rows = min(range(most, TILE_N - 1, -TILE_N), key=cost)
    whole_fits = 2 * n * k <= LARGEST_BUFFER
    return n if whole_fits and cost(n) + COST_OF_TRAVEL * n < cost(rows) else rows


def choose_slices(m: int, n: int, k: int, gpu: Gpu) -> Slices:
    """The cut for x `[m, k]` times a matrix `[n, k]`."""
    rows = choose_rows(m, n, k, gpu.multiprocessors)
    return Slices(rows, buffers=1 if rows >= n else 2)


class Prefill:
    """Multiplies one matrix with many rows of x of `dtype`, float16 or bfloat16.

    `slices` overrules the choice. The buffers come from torch's allocator, which keeps them from call to
    call, also while a CUDA graph is captured: what is freed when the call returns was last used by work that
    the main stream waits for.
    """

    def __init__(self, lanes: LaneMatrix, dtype: torch.dtype, gpu: Gpu, slices: Slices | None = None) -> None:
        self.lanes = lanes
        self.dtype = dtype
        self.gpu = gpu
        self.slices = slices
        self.chosen: dict[int, Slices] = {}  # of each number of rows met so far
        self.unpackers: dict[tuple[int, int], Dequantize] = {}
        self.side: torch.cuda.Stream | None = None

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x `[M, k]`, contiguous rows → `[M, n]` in x's dtype, on the current device and stream."""
        lanes = self.lanes
        m = x.shape[0]
        slices = self.slices or self.chosen.get(m) or self.choose(m)
        rows = min(slices.rows, lanes.n)
        starts = range(0, lanes.n, rows)
        buffers = min(slices.buffers, len(starts))
        buffer = torch.empty((buffers, rows, lanes.k), dtype=self.dtype, device=x.device)
        out = torch.empty((m, lanes.n), dtype=self.dtype, device=x.device)
        if buffers == 1:
            unpack = self.unpacker(slices.warps, 0)
            for start in starts:
                stop = min(start + rows, lanes.n)
                weights = unpack(buffer[0, : stop - start], start)
                multiply_slice(x, weights, bias, out, start)
        else:
            self.multiply_beside(x, bias, out, buffer, slices)
        return out

    def multiply_beside(
        self, x: Tensor, bias: Tensor | None, out: Tensor, buffer: Tensor, slices: Slices
    ) -> None:
        """The picture above."""
        n, rows = self.lanes.n, buffer.shape[1]
        main = torch.cuda.current_stream(x.device)
        if self.side is None:
            self.side = torch.cuda.Stream(x.device, priority=-1)  # its programs go first where one gets free
        side = self.side
        starts = list(range(0, n, rows))
        buffers = [buffer[i % 2, : min(rows, n - start)] for i, start in enumerate(starts)]
        self.unpacker(slices.warps, 0)(buffers[0], 0)
        free = [main.record_event()] * 2  # of either buffer: when its last multiplication is through
        unpack = self.unpacker(slices.warps, slices.programs)
        for i, start in enumerate(starts):
            if i + 1 < len(starts):
                side.wait_event(free[(i + 1) % 2])
                with torch.cuda.stream(side):
                    unpack(buffers[i + 1], starts[i + 1])
                ready = side.record_event()
            multiply_slice(x, buffers[i], bias, out, start)
            if i + 1 < len(starts):
                free[i % 2] = main.record_event()
                main.wait_event(ready)

    def unpacker(self, warps: int, programs: int) -> Dequantize:
        key = (warps, programs)
        if key not in self.unpackers:
            self.unpackers[key] = Dequantize(self.lanes, self.dtype, programs=programs, warps=warps)
        return self.unpackers[key]

    def choose(self, m: int) -> Slices:
        self.chosen[m] = choose_slices(m, self.lanes.n, self.lanes.k, self.gpu)
        return self.chosen[m]


def multiply_slice(x: Tensor, weights: Tensor, bias: Tensor | None, out: Tensor, start: int) -> None:
    """out[:, start : …] = x · weightsᵀ + bias[start : …]."""
    stop = start + weights.shape[0]
    if bias is None:
        torch.mm(x, weights.mT, out=out[:, start:stop])
    else:
        torch.addmm(bias[start:stop], x, weights.mT, out=out[:, start:stop])
