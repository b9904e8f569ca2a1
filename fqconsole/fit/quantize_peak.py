"""The memory of the quantize job itself. It streams: what counts is the widest row, not the model's size.

The job reads, rounds and writes a block of rows at a time: BLOCK weights, or one row where that is longer,
with about WEIGHT_BYTES bytes a weight alive at once; a test holds that the quantizer's are no larger.
"""

from fqconsole.fit.capacity import Capacity
from fqconsole.fit.runtime import runtime
from fqconsole.fit.term import Term
from fqconsole.models.description import ModelDescription

CPU_BLOCK = 1 << 19
GPU_BLOCK = 1 << 24
WEIGHT_BYTES = 20
SOURCE_BYTES = 4  # a block waits for the hash while the next one is worked on, 2 B a weight each
COPY_BYTES = 3 * (8 << 20)  # kept tensors go through in blocks of 8 MiB: read, hashed, written


def quantize_peak(model: ModelDescription, capacity: Capacity) -> tuple[Term, ...]:
    """Terms of the peak where the arithmetic runs: the host, or one GPU (the host then holds under 1 GiB)."""
    on_host = capacity.kind == "host"
    row = max((tensor.shape[-1] for tensor in model.tensors if len(tensor.shape) > 1), default=0)
    block = max(CPU_BLOCK if on_host else GPU_BLOCK, row)
    per_weight = WEIGHT_BYTES + SOURCE_BYTES if on_host else WEIGHT_BYTES
    working = block * per_weight + (COPY_BYTES if on_host else 0)
    return (
        Term("blocks of rows", working, "formula", f"{block:,} weights × {per_weight} B at a time"),
        runtime(capacity),
    )
