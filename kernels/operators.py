# ruff: noqa: PLR0917 — an operator of torch takes its arguments in order
"""`kernels.linear` and `expert_linear` as operators of torch, for torch.compile.

The compiler can't look into a prepared matrix or into a kernel launch, so it sees one operator on tensors and
numbers. Run, the operator is the eager function; a fake form tells the compiler the result's shape. A matrix
is passed by the number that `kernels.prepare` gave it. Eager calls go past the operators, which cost more
time than a launch.

A model compiled whole is one graph with those numbers in it. Layers compiled one by one share a graph only
under `torch._dynamo.config.allow_unspec_int_on_nn_module = True`; without, each layer is compiled anew and
torch gives up on the ninth.
"""

import torch
from torch import Tensor

from kernels.epilogue import ACTIVATIONS, Norm
from kernels.linear import expert_linear, linear
from kernels.prepared import PreparedMatrix

NAMESPACE = "fqconsole"


def matrix_of(number: int) -> PreparedMatrix:
    """The prepared matrix of this number. Raises ValueError where it is gone."""
    matrix = PreparedMatrix.numbered(number)
    if matrix is None:
        raise ValueError(f"the matrix with number {number} that this graph multiplies with is gone")
    return matrix


@torch.library.custom_op(f"{NAMESPACE}::linear", mutates_args=())
def linear_operator(
    x: Tensor,
    matrix: int,
    outputs: int,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    activation: str = "",
    norm_weight: Tensor | None = None,
    norm_eps: float = 0.0,
) -> Tensor:
    """`kernels.linear`; `outputs` are the result's columns, for the fake form alone."""
    return linear(
        x,
        matrix_of(matrix),
        bias,
        residual=residual,
        activation=next((name for name in ACTIVATIONS if name == activation), None),
        norm=None if norm_weight is None else Norm(norm_weight, norm_eps),
    )


@linear_operator.register_fake
def fake_linear(
    x: Tensor,
    matrix: int,
    outputs: int,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    activation: str = "",
    norm_weight: Tensor | None = None,
    norm_eps: float = 0.0,
) -> Tensor:
    return x.new_empty((*x.shape[:-1], outputs))


@torch.library.custom_op(f"{NAMESPACE}::expert_linear", mutates_args=())
def expert_linear_operator(
    x: Tensor, matrix: int, outputs: int, expert: Tensor, activation: str = ""
) -> Tensor:
    """`kernels.expert_linear`; `outputs` are the result's columns, for the fake form alone."""
    known = next((name for name in ACTIVATIONS if name == activation), None)
    return expert_linear(x, matrix_of(matrix), expert, activation=known)


@expert_linear_operator.register_fake
def fake_expert_linear(x: Tensor, matrix: int, outputs: int, expert: Tensor, activation: str = "") -> Tensor:
    return x.new_empty((expert.numel(), outputs))
