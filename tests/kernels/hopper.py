"""What the tests of the ring and the wide kernel on a Hopper GPU share."""

import pytest
import torch

from kernels.gpu import gpu_of
from kernels.wide_tiles import WIDE_CAPABILITY

DTYPES = (torch.float16, torch.bfloat16)
GROUPS = (None, 32, 64, 96, 128, 256)
# Multiples of no step where the group allows; odd for channel.
RAGGED_K = {None: 1003, 32: 1056, 64: 1088, 96: 1056, 128: 1152, 256: 1280}


def why_not_hopper() -> str:
    if not torch.cuda.is_available():
        return "no CUDA GPU on this machine"
    if gpu_of(torch.device("cuda")).capability != WIDE_CAPABILITY:
        return "these kernels are for compute capability 9.0"
    return ""


ON_HOPPER = [pytest.mark.gpu, pytest.mark.skipif(bool(why_not_hopper()), reason=why_not_hopper())]
