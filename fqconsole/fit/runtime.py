"""What a process takes before it holds any model: documented defaults, until a probe measures them here."""

from fqconsole.fit.capacity import Capacity
from fqconsole.fit.term import Term

GIB = 1 << 30

# CUDA context of a data-centre GPU (about 0.6 GiB) and loaded Triton modules: 0.74 GiB on an H200, whatever
# the model (`benchmarks.fit`).
GPU = Term("CUDA + Triton", int(0.74 * GIB), "default", "CUDA context, Triton modules\nnot measured here")
# Resident memory of a Python process after importing torch 2.13 and transformers 5.23 and one generation.
HOST = Term("Python + torch", int(0.5 * GIB), "default", "the worker's own process\nnot measured here")
# What NCCL keeps on each GPU for its channels, between two and more.
EXCHANGE = Term("NCCL", int(0.4 * GIB), "default", "buffers for what the GPUs exchange\nnot measured here")


def runtime(capacity: Capacity) -> Term:
    """What was measured for this device, or the default for its kind."""
    if capacity.runtime is not None:
        return capacity.runtime
    if capacity.kind == "host":
        return HOST
    if not capacity.unified:
        return GPU
    detail = "CUDA context and kernels, and the process itself: they share one memory\nnot measured here"
    return Term("CUDA + process", GPU.bytes + HOST.bytes, "default", detail)


def exchange(capacity: Capacity) -> Term:
    """What NCCL keeps on each of several GPUs: measured, or the default."""
    return capacity.exchange or EXCHANGE
