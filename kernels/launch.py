"""Launches a compiled Triton kernel again without Triton's search for it among its compilations."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

Kind = tuple[object, ...]


class Launch:
    """One kernel with fixed constants.

    Triton compiles a kernel for the dtypes of its tensors, for whether each starts at 16 bytes and for what
    divides its integers, and finds it by looking at every argument in every call. Who launches through this
    class says in `kind` what of that may change between two calls; the rest must stay as in the first call.
    """

    def __init__(self, kernel: Any, constants: Mapping[str, object], options: Mapping[str, int]) -> None:
        self.kernel = kernel
        # They follow the arguments.
        self.names = tuple(name for name in kernel.arg_names if name in constants)
        self.constants = tuple(constants[name] for name in self.names)
        self.options = dict(options)
        self.compiled: dict[Kind, Any] = {}

    def __call__(self, grid: tuple[int, int, int], kind: Kind, *arguments: object) -> None:
        """Launch on the current device and stream."""
        compiled = self.compiled.get(kind)
        if compiled is not None:
            compiled[grid](*arguments, *self.constants)
            return
        compiled = self.kernel[grid](*arguments, *self.constants, **self.options)
        if compiled is not None:  # the interpreter compiles nothing
            self.compiled[kind] = compiled


def kind_of(tensor: Tensor | None) -> Kind:
    """What Triton compiles for, of a tensor that changes between calls, and of its row stride."""
    if tensor is None:
        return ()
    stride = tensor.stride(0)
    return tensor.dtype, tensor.data_ptr() % 16 == 0, stride % 16 == 0, stride == 1
