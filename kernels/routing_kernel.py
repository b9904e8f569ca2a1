"""Stand-in until the kernel is here."""

from kernels.routing import combine_plain as combine_on_gpu
from kernels.routing import gate_plain as gate_on_gpu
from kernels.routing import route_plain as route_on_gpu

__all__ = ["combine_on_gpu", "gate_on_gpu", "route_on_gpu"]
