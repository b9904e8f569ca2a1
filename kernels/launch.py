"""Launches a compiled Triton kernel again without Triton's search for it among its compilations."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from torch import Tensor

Kind = tuple[object, ...]

# Where it holds a dict nothing is launched: kernels are asked for and put there (`kernels.compilation`).
ASKED: ContextVar[dict[Kind, Any] | None] = ContextVar("asked", default=None)


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
        asked = ASKED.get()
        if asked is not None:
            self.ask(asked, grid, arguments)
            return
        compiled = self.compiled.get(kind)
        if compiled is not None:
            compiled[grid](*arguments, *self.constants)
            return
        compiled = self.kernel[grid](*arguments, *self.constants, **self.options)
        if compiled is not None:  # the interpreter compiles nothing
            # Of a kernel that another thread asked for, Triton returns what stands for it until it is there.
            self.compiled[kind] = compiled.result() if hasattr(type(compiled), "result") else compiled

    def ask(self, asked: dict[Kind, Any], grid: tuple[int, int, int], arguments: tuple[object, ...]) -> None:
        """Have Triton compile for these arguments, unless a launch for such ones has asked before."""
        options = tuple(self.options.items())
        key = (self.kernel, self.constants, options, *(argument_kind(each) for each in arguments))
        if key not in asked:
            asked[key] = self.kernel.warmup(*arguments, *self.constants, grid=grid, **self.options)


def argument_kind(argument: object) -> Kind:
    """What Triton compiles for, of any argument: the same for two means that one kernel serves both."""
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    block = getattr(argument, "block_shape", None)  # of a tensor's descriptor
    return (type(argument), argument) if block is None else (type(argument), *block)


def kind_of(tensor: Tensor | None) -> Kind:
    """What Triton compiles for, of a tensor that changes between calls, and of its row stride."""
    if tensor is None:
        return ()
    stride = tensor.stride(0)
    return tensor.dtype, tensor.data_ptr() % 16 == 0, stride % 16 == 0, stride == 1
