"""The kernels that a job on a GPU will need, compiled all at once while it still reads.

Triton takes a second or two for each when it meets it for the first time on a machine; later ones come from
its cache.
"""

import contextlib
import math
import threading
from collections.abc import Iterable

import torch

from fqconsole.models.description import ModelDescription
from kernels.compilation import asked_for, compiles_together
from kernels.device import runs_triton
from quantizer.blocks import KERNEL_GROUPS, WHOLE_WORDS, takes_kernel
from quantizer.ladder import RUNGS
from quantizer.plan import ChannelSet, Plan
from quantizer.rounding import SCALE_DTYPES
from quantizer.scheme import Scheme
from quantizer.source import torch_dtype


def prepare_kernels(
    description: ModelDescription, plan: Plan, device: torch.device, *, analysing: bool
) -> threading.Thread | None:
    """Start to compile what quantizing by `plan` launches on `device`, and analysing for it where asked.

    The thread, for whoever wants to wait; None where there is nothing to compile. What can't be compiled is
    told by its first launch.
    """
    if not runs_triton(device) or not compiles_together(device):
        return None
    tensors = {tensor.name: tensor for tensor in description.tensors}
    dtypes = {torch_dtype(tensors[matrix.tensors[0]]) for matrix in plan.matrices}
    thread = threading.Thread(target=_compile, args=(plan, dtypes, device, analysing), name="prepare")
    thread.daemon = True
    thread.start()
    return thread


def _compile(plan: Plan, dtypes: Iterable[torch.dtype], device: torch.device, analysing: bool) -> None:
    with contextlib.suppress(Exception), torch.cuda.device(device), asked_for(device):
        for dtype in dtypes:
            _ask(plan, dtype, device, analysing)


def _ask(plan: Plan, dtype: torch.dtype, device: torch.device, analysing: bool) -> None:
    """One launch of each kernel, of which nothing but its name and the dtypes counts."""
    from quantizer.balance_kernel import candidates_on_gpu, errors_on_gpu
    from quantizer.block_kernel import block_on_gpu
    from quantizer.range_kernel import ranges_on_gpu

    scale_dtype, scales = SCALE_DTYPES[plan.scale_dtype], plan.methods.scales
    schemes: set[Scheme] = {matrix.scheme for matrix in plan.matrices}
    for scheme in schemes:
        if scheme.group_size not in KERNEL_GROUPS:
            continue
        shape = 1, math.lcm(scheme.group_size, WHOLE_WORDS)
        rows = torch.empty(shape, dtype=dtype, device=device)
        if takes_kernel(rows, scheme, plan.methods):
            group = scheme.bits, scheme.group_size, scales, scale_dtype
            if analysing and plan.methods.balance:
                for of_rows, known in ((False, rows[0]), (True, rows[0].float())):
                    held = ChannelSet("", (), of_rows=of_rows)
                    candidates = candidates_on_gpu(held, known, rows[0].float(), 1)
                    errors_on_gpu(rows.float(), [1], candidates, *group, weighing=False)
            block_on_gpu(rows, *group)
    if analysing:
        ranges_on_gpu(torch.empty((1, RUNGS[0]), dtype=dtype, device=device), None, None)
