"""A product and what is around it on a GPU, each in its own launch: for those that no launch does whole."""

from collections.abc import Callable

from torch import Tensor

from kernels.epilogue import Epilogue
from kernels.norms_kernel import norm_on_gpu
from kernels.routing_kernel import gate_on_gpu


def multiply_apart(
    multiply: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, epilogue: Epilogue
) -> Tensor:
    """x `[M, K]` → `[M, N]`, or `[M, N / 2]` with an activation; `multiply(x, bias)` for the product.

    Rounds as the decode kernel does: a norm twice, gate and up once.
    """
    norm = epilogue.norm
    normed = x if norm is None else norm_on_gpu(x, norm.weight, eps=norm.eps)[0]
    out = multiply(normed, epilogue.bias)
    if epilogue.activation is not None:
        out = gate_on_gpu(out, epilogue.activation)
    return out if epilogue.residual is None else out + epilogue.residual
