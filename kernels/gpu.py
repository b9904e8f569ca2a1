"""The CUDA path: which kernel multiplies, and what a matrix becomes on a GPU."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kernels.epilogue import NOTHING, Activation, Epilogue, Norm, ScaledRows, multiply_with
from kernels.lane_layout import LaneMatrix
from kernels.packed_matrix import PackedMatrix
from kernels.prepared import DequantizedMatrix, PreparedMatrix
from kernels.ring_tiles import LARGEST_RING, choose_ring_tile, takes_few
from kernels.tiles import LARGEST_FUSED, Gpu, choose_tile, row_bucket, supports_group
from kernels.tuning import tuned_tile
from kernels.wide_tiles import MOST_WALKED, SMALLEST_WIDE_OUTPUT, WIDE_CAPABILITY, choose_routed_tiles

if TYPE_CHECKING:
    from kernels.decode_plan import DecodePlan
    from kernels.experts import ExpertsPlan
    from kernels.prefill import Prefill
    from kernels.ring_plan import RingPlan
    from kernels.wide_experts import WideExpertsPlan

OLDEST_CAPABILITY = 80  # bfloat16 in the matrix unit
FUSED_DTYPES = (torch.float16, torch.bfloat16)
LARGEST_DECODE = 16  # rows of x for the decode kernel, where there is the ring one
DECODE_OF_LARGE = 8  # and where the matrix is so large that the ring kernel is faster sooner
ROW_TILE = 16  # a gate tile and its up tile must not share rows
HERE = nullcontext()


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
    """A matrix or a stack on a GPU, in lane order."""

    path = "triton"

    def __init__(self, lanes: LaneMatrix, gpu: Gpu) -> None:
        self.lanes = lanes
        self.gpu = gpu
        self.n = lanes.n
        self.k = lanes.k
        self.decoded_rows = {
            (dtype, more): self.decode_rows(dtype, more=more)
            for dtype in FUSED_DTYPES
            for more in (False, True)
        }
        self.plans: dict[tuple[int, bool], DecodePlan] = {}  # of each `row_bucket` met so far
        self.prefills: dict[torch.dtype, Prefill] = {}
        self.expert_plans: dict[tuple[int, Activation | None], ExpertsPlan] = {}
        self.ring_plans: dict[int, RingPlan] = {}
        self.wide_expert_plans: dict[int, WideExpertsPlan] = {}

    @property
    def bytes(self) -> int:
        return self.lanes.bytes

    def multiply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return self.multiply_with(x, NOTHING if bias is None else Epilogue(bias))

    def multiply_with(self, x: Tensor, epilogue: Epilogue) -> Tensor:
        few = self.decoded_rows.get((x.dtype, epilogue.is_more))
        if few is None:
            return multiply_with(self.multiply_dequantized, x, epilogue)
        with on_device(x.device):
            # The one place where the number of rows decides who multiplies.
            m = x.shape[0]
            if m <= few and self.fuses(x, epilogue):
                return self.plan_for(m, epilogue.activation is not None).multiply(x, epilogue)
            ring = m > few and self.takes_ring(m, x.dtype)
            multiply = self.multiply_ring if ring else self.multiply_many if m > few else self.multiply_few
            if not epilogue.is_more:
                return multiply(x, epilogue.bias)
            from kernels.apart import multiply_apart

            return multiply_apart(multiply, x, epilogue)

    def multiply_and_scale(
        self, x: Tensor, epilogue: Epilogue, following: Norm
    ) -> tuple[Tensor, ScaledRows | None]:
        """In bfloat16, where the decode kernel does it: float16 may not hold x times a norm's weights."""
        few = self.decoded_rows[torch.bfloat16, True]
        if x.dtype != torch.bfloat16 or x.shape[0] > few or following.weight.dtype != x.dtype:
            return self.multiply_with(x, epilogue), None
        with on_device(x.device):
            return self.plan_for(x.shape[0], False).multiply_and_scale(x, epilogue, following.weight)

    def multiply_few(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The product alone of up to `LARGEST_FUSED` rows."""
        return self.plan_for(x.shape[0], False).multiply(x, Epilogue(bias))

    def multiply_many(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The product alone of any number of rows: slices of the weights in 16 bits, multiplied by cuBLAS."""
        prefill = self.prefills.get(x.dtype) or self.prefill_for(x.dtype)
        return prefill.multiply(x, bias)

    def fuses(self, x: Tensor, epilogue: Epilogue) -> bool:
        """Whether one launch does all of it: halves of whole row tiles, norm weights that load as x does."""
        if epilogue.activation is not None and self.n % (2 * ROW_TILE):
            return False
        if epilogue.norm is None:
            return True
        weight = epilogue.norm.weight
        loads = weight.dtype == x.dtype and weight.is_contiguous() and weight.data_ptr() % 16 == 0
        return (loads or epilogue.norm.scaled is not None) and self.k % 8 == 0

    def decode_rows(self, dtype: torch.dtype, *, more: bool) -> int:
        """Most rows of x for the decode kernel; `more` as in `takes_few`."""
        if not self.takes_ring(LARGEST_DECODE + 1, dtype):
            return LARGEST_FUSED
        large = takes_few(self.lanes.bits, self.n, self.k, more=more)
        return DECODE_OF_LARGE if large else LARGEST_DECODE

    def takes_ring(self, m: int, dtype: torch.dtype) -> bool:
        """Whether the ring kernel takes so many rows of x."""
        return self.suits_hopper(dtype) and m <= LARGEST_RING

    def suits_hopper(self, dtype: torch.dtype) -> bool:
        """Whether the ring kernel can multiply this matrix, or the wide one this stack, at all."""
        known = self.gpu.capability == WIDE_CAPABILITY and self.lanes.pair == 2
        return known and self.n >= SMALLEST_WIDE_OUTPUT and self.lanes.dtype == dtype

    def multiply_ring(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Many rows of x, weights unpacked on the way to the matrix unit."""
        bucket = row_bucket(x.shape[0])
        plan = self.ring_plans.get(bucket) or self.ring_plan_for(bucket)
        with on_device(x.device):
            return plan.multiply(x, bias)

    def ring_plan_for(self, bucket: int) -> RingPlan:
        """The plan for so many rows of x, made once."""
        from kernels.ring_plan import RingPlan

        w, count = self.lanes, self.gpu.multiprocessors
        plan = RingPlan(w, choose_ring_tile(w.bits, bucket, w.n, w.k, count), count, bucket)
        self.ring_plans[bucket] = plan
        return plan

    def multiply_dequantized(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x of any dtype and number of rows, in plain torch."""
        return self.dequantized().multiply(x, bias)

    def dequantized(self) -> DequantizedMatrix:
        """What multiplies in other dtypes than these kernels know; made in every call."""
        from kernels.repack import unpack_lanes

        with on_device(self.lanes.device):
            return DequantizedMatrix(unpack_lanes(self.lanes))

    def plan_for(self, m: int, paired: bool) -> DecodePlan:
        """The plan for `m` rows of x, made once for all that share a bucket."""
        key = (row_bucket(m), paired)
        plan = self.plans.get(key)
        if plan is None:
            from kernels.decode_plan import DecodePlan  # triton is loaded with the first use on a GPU

            w = self.lanes
            chosen = choose_tile(w.bits, w.group_size, key[0], w.n, w.k, gpu=self.gpu, paired=paired)
            tile = tuned_tile(w, chosen, key[0], self.gpu, paired=paired)
            plan = self.plans[key] = DecodePlan(w, tile, self.gpu, paired=paired)
        return plan

    def prefill_for(self, dtype: torch.dtype) -> Prefill:
        """What multiplies many rows of this dtype, made once."""
        from kernels.prefill import Prefill

        self.prefills[dtype] = Prefill(self.lanes, dtype)
        return self.prefills[dtype]

    def multiply_by_expert(self, x: Tensor, expert: Tensor) -> Tensor:
        if x.dtype not in FUSED_DTYPES:
            return self.dequantized().multiply_by_expert(x, expert)
        with on_device(x.device):
            if self.is_wide_routed(expert.shape[0], x.dtype):
                return self.wide_expert_plan_for(expert.shape[0]).multiply(x, expert)
            return self.expert_plan_for(expert.shape[0], None).multiply(x, expert)

    def gate_by_expert(self, x: Tensor, expert: Tensor, activation: Activation) -> Tensor:
        if x.dtype in FUSED_DTYPES and self.is_wide_routed(expert.shape[0], x.dtype):
            from kernels.routing_kernel import gate_on_gpu

            return gate_on_gpu(self.multiply_by_expert(x, expert), activation)
        if x.dtype not in FUSED_DTYPES or self.n % (2 * ROW_TILE):
            return super().gate_by_expert(x, expert, activation)
        with on_device(x.device):
            return self.expert_plan_for(expert.shape[0], activation).multiply(x, expert)

    def is_wide_routed(self, rows: int, dtype: torch.dtype) -> bool:
        """Whether the wide kernel takes so many routed rows: from shapes alone, which expert has how many
        lies on the device."""
        per_expert = row_bucket(rows) / (self.lanes.experts or 1)
        return per_expert > MOST_WALKED and self.suits_hopper(dtype)

    def wide_expert_plan_for(self, rows: int) -> WideExpertsPlan:
        """The plan for so many routed rows and the wide kernel, made once for all that share a bucket."""
        bucket = row_bucket(rows)
        plan = self.wide_expert_plans.get(bucket)
        if plan is None:
            from kernels.wide_experts import WideExpertsPlan

            w = self.lanes
            tile, small = choose_routed_tiles(w.bits, bucket / (w.experts or 1), w.k)
            plan = WideExpertsPlan(w, tile, self.gpu.multiprocessors, small=small)
            self.wide_expert_plans[bucket] = plan
        return plan

    def expert_plan_for(self, rows: int, activation: Activation | None) -> ExpertsPlan:
        """The plan for so many routed rows, made once for all that share a bucket."""
        key = (row_bucket(rows), activation)
        plan = self.expert_plans.get(key)
        if plan is None:
            from kernels.experts import ExpertsPlan

            plan = ExpertsPlan(self.lanes, key[0], self.gpu, activation=activation)
            self.expert_plans[key] = plan
        return plan


def prepare_for_gpu(w: PackedMatrix, dtype: torch.dtype) -> PreparedMatrix:
    """The fastest form of `w`, already on its GPU.

    Scales stay as they are where they have 16 bits, and become `dtype` otherwise. Waits until the matrix is
    there: kernels that start before the one ahead of them has ended read weights without asking.
    """
    if why_not_fused(w.device) or not supports_group(w.group_size):
        return DequantizedMatrix(w)
    kept = next(kind for kind in (w.scales.dtype, dtype, torch.bfloat16) if kind in FUSED_DTYPES)
    from kernels.repack import repack

    with on_device(w.device):
        lanes = repack(w, kept)
        torch.cuda.current_stream().synchronize()
    return TritonMatrix(lanes, gpu_of(w.device))


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it the tensor's."""
    return HERE if device.index == torch.cuda.current_device() else torch.cuda.device(device)
