"""What the launches of the kernels between the matmuls share."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
import triton
from torch import Tensor

from kernels.decode import uses_dependent_launch
from kernels.gpu import gpu_of, on_device
from kernels.launch import Kind
from kernels.tiles import Gpu


@cache
def gpu_here(device: torch.device) -> Gpu:
    """The GPU of these tensors; Triton's interpreter on the CPU plays one."""
    return gpu_of(device) if device.type == "cuda" else Gpu()


def on(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it the tensor's."""
    return on_device(tensor.device) if tensor.is_cuda else nullcontext()


def step_constants(gpu: Gpu) -> dict[str, object]:
    """The compile-time constants that all of these kernels have."""
    return {"PDL": uses_dependent_launch(gpu), "INTERPRET": triton.knobs.runtime.interpret}


def step_options(gpu: Gpu, warps: int, stages: int = 1) -> dict[str, int]:
    """How Triton compiles and launches them."""
    early = {"launch_pdl": True} if uses_dependent_launch(gpu) else {}
    return {"num_warps": warps, "num_stages": stages} | early


def kinds(first: Tensor, *others: Tensor | None) -> Kind:
    """What a launch is made for, of tensors that change between calls: GPU, dtypes and starts.

    Of two GPUs that are alike each loads the kernel for itself.
    """
    return first.device, *[None if t is None else (t.dtype, t.data_ptr() % 16 == 0) for t in (first, *others)]
