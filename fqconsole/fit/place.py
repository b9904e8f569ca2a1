"""Where a model would run, as far as the arithmetic cares: a GPU or the host, and how it computes there."""

from typing import NamedTuple

from fqconsole.fit.activations import slice_bytes
from fqconsole.fit.cpu_layout import rearranges
from fqconsole.fit.host import value_bytes
from fqconsole.fit.runtime import Runtime, runtime
from fqconsole.models.description import ModelDescription


class Place(NamedTuple):
    """One device's ways with one model."""

    on_host: bool
    width: int  # bytes of one value computed with
    runtime: Runtime  # what the process takes without a model
    rearranges: bool  # quantized matrices get another layout at load
    unpacked: int  # bytes of the slice that a quantized matrix is unpacked into


def place_of(model: ModelDescription, *, on_host: bool) -> Place:
    """The host, or a GPU, for `model`."""
    width = value_bytes(model.dtype, on_host=on_host)
    return Place(
        on_host=on_host,
        width=width,
        runtime=runtime(on_host=on_host),
        rearranges=on_host and rearranges(model.dtype, width),
        unpacked=slice_bytes(model, width, on_host=on_host),
    )
