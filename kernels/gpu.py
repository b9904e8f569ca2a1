"""The CUDA path: which kernel multiplies, and what a matrix becomes on a GPU."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kernels.packed_matrix import PackedMatrix
from kernels.prepared import DequantizedMatrix, PreparedMatrix, rows_of_slice
from kernels.tiles import Gpu, choose_expert_tile, choose_tile, fused_rows, row_bucket, supports_group

if TYPE_CHECKING:
    from kernels.matmul import MatmulPlan

OLDEST_CAPABILITY = 80  # bfloat16 in the matrix unit, asynchronous copies
WHOLE_TILES = 256  # rows: a multiple of every tile of cuBLAS
FUSED_DTYPES = (torch.float16, torch.bfloat16)


def gpu_of(device: torch.device) -> Gpu:
    """The properties that tiles depend on."""
    properties = torch.cuda.get_device_properties(device)
    return Gpu(properties.major * 10 + properties.minor, properties.multi_processor_count)


def why_not_fused(device: torch.device) -> str:
    """Why the Triton kernels can't run on `device`; empty where they can."""
    if device.type != "cuda":
        return f"no Triton kernels for {device.type}"
    if not torch.cuda.is_available():
        return "no CUDA GPU"
    if torch.version.hip:
        return "the Triton kernels are written for NVIDIA GPUs"
    if gpu_of(device).capability < OLDEST_CAPABILITY:
        return "the Triton kernels need compute capability 8.0"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    return ""


class TritonMatrix(PreparedMatrix):
    """A matrix or a stack on a GPU, which the fused kernels read in the checkpoint's own packing."""

    path = "triton"

    def __init__(self, packed: PackedMatrix, gpu: Gpu) -> None:
        self.packed = packed
        self.gpu = gpu
        self.n = packed.n
        self.k = packed.k
        self.fused_rows = fused_rows(packed.bits)
        self.plans: dict[int, MatmulPlan] = {}  # of each `row_bucket` met so far

    @property
    def bytes(self) -> int:
        return self.packed.bytes

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if x.dtype not in FUSED_DTYPES:
            return DequantizedMatrix(self.packed).multiply(x, bias)
        m = x.shape[0]
        with on_device(x.device):
            if m > self.fused_rows:
                return multiply_dequantized(x, self.packed, bias)
            bucket = row_bucket(m)
            plan = self.plans.get(bucket) or self.plan_for(bucket)
            return plan.multiply(x, bias)

    def plan_for(self, bucket: int) -> MatmulPlan:
        """The plan for so many rows of x, made once."""
        from kernels.matmul import MatmulPlan  # triton is loaded with the first use on a GPU

        packed = self.packed
        tile = choose_tile(packed.bits, packed.group_size, bucket, packed.n, packed.k, gpu=self.gpu)
        self.plans[bucket] = MatmulPlan(packed, tile)
        return self.plans[bucket]

    def multiply_by_expert(self, x: Tensor, expert: Tensor) -> Tensor:
        if x.dtype not in FUSED_DTYPES:
            return DequantizedMatrix(self.packed).multiply_by_expert(x, expert)
        from kernels.experts import expert_matmul

        packed = self.packed
        rows_per_expert = x.shape[0] / max(1, packed.experts or 1)
        tile = choose_expert_tile(packed.bits, packed.group_size, rows_per_expert, self.gpu)
        with on_device(x.device):
            return expert_matmul(x, packed, expert, tile)


def slice_rows(k: int) -> int:
    """Rows of `k` weights to dequantize at a time: whole tiles of cuBLAS.

    Every slice of the result then starts at a 16-byte boundary, which the fast kernels of cuBLAS ask for.
    """
    rows = rows_of_slice(k, "cuda")
    return max(WHOLE_TILES, rows - rows % WHOLE_TILES)


def multiply_dequantized(x: Tensor, w: PackedMatrix, bias: Tensor | None) -> Tensor:
    """x `[M, K]` times `w`: our kernel unpacks a slice of rows, cuBLAS multiplies it while it lies in L2."""
    from kernels.dequantize import dequantize_rows

    n = w.n
    rows = min(n, slice_rows(w.k))
    buffer = x.new_empty((rows, w.k))
    out = x.new_empty((x.shape[0], n))
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        weights = dequantize_rows(w, buffer[: stop - start], start).mT
        if bias is None:
            torch.mm(x, weights, out=out[:, start:stop])
        else:
            torch.addmm(bias[start:stop], x, weights, out=out[:, start:stop])
    return out


def prepare_for_gpu(w: PackedMatrix) -> PreparedMatrix:
    """The fastest form of `w`, already on its GPU, with the scales laid out along N as they are read."""
    if why_not_fused(w.device) or not supports_group(w.group_size):
        return DequantizedMatrix(w)
    scales = w.scales.mT.contiguous().mT
    return TritonMatrix(PackedMatrix(w.codes, scales, w.bits, w.group_size, w.k), gpu_of(w.device))


def fused_or_dequantized(w: PackedMatrix) -> PreparedMatrix:
    """`w` as it lies on its GPU, for a single multiplication."""
    if why_not_fused(w.device) or not supports_group(w.group_size):
        return DequantizedMatrix(w)
    return TritonMatrix(w, gpu_of(w.device))


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it the tensor's."""
    return nullcontext() if device.index == torch.cuda.current_device() else torch.cuda.device(device)
