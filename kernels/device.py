"""Where the Triton kernels between the matmuls run."""

from functools import cache

import torch

from kernels.gpu import why_not_fused


def runs_triton(device: torch.device) -> bool:
    """Whether `device` takes the Triton kernels; where not, plain torch does the same."""
    return device.type == "cuda" and _asked(device)


@cache
def _asked(device: torch.device) -> bool:
    return not why_not_fused(device)
