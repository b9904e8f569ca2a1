"""Where a model would run, as far as the arithmetic cares: a GPU or the host, and how it computes there."""

from collections.abc import Callable
from typing import NamedTuple

from fqconsole.fit.capacity import Capacity
from fqconsole.fit.cpu_layout import layout_bytes, preparing_bytes, rearranges
from fqconsole.fit.gpu_layout import lane_bytes, lane_tensors, stored_tensors
from fqconsole.fit.host import value_bytes
from fqconsole.fit.runtime import exchange, runtime
from fqconsole.fit.term import Term
from fqconsole.models.description import ModelDescription
from quantizer.scheme import Scheme, stored_bytes

Form = Callable[[tuple[int, ...], Scheme], int]
Tensors = Callable[[tuple[int, ...], Scheme], tuple[int, int]]


class Place(NamedTuple):
    """One device's ways with one model."""

    on_host: bool
    width: int  # bytes of one value computed with
    runtime: Term  # what the process takes without a model
    exchange: Term  # what it takes to exchange something with other GPUs' processes
    layout: Form  # bytes that a quantized matrix takes there
    preparing: Form  # bytes beside that and the stored ones, while it is brought into that form
    tensors: Tensors  # of a GPU: the two that the first are made of


def place_of(model: ModelDescription, capacity: Capacity) -> Place:
    """The host, or a GPU, for `model`."""
    on_host = capacity.kind == "host"
    width = value_bytes(model.dtype, on_host=on_host)
    layout: Form = _as_stored
    preparing: Form = _nothing
    if not on_host:
        layout = lane_bytes if capacity.fused else _as_stored
    elif rearranges():
        layout, preparing = layout_bytes, preparing_bytes
    return Place(
        on_host=on_host,
        width=width,
        runtime=runtime(capacity),
        exchange=exchange(capacity),
        layout=layout,
        preparing=preparing,
        tensors=lane_tensors if capacity.fused else stored_tensors,
    )


def _as_stored(shape: tuple[int, ...], scheme: Scheme) -> int:
    return stored_bytes(shape, scheme)


def _nothing(shape: tuple[int, ...], scheme: Scheme) -> int:
    del shape, scheme
    return 0
