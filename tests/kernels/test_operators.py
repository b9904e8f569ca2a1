"""Under torch.compile a matmul is one operator: whole graphs, the right shape, the eager result."""

import gc
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from kernels import Norm, PreparedMatrix, expert_linear, linear, prepare
from tests.kernels.cases import random_matrix, random_rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Layer(nn.Module):
    """What a quantized layer of a model looks like: matrices that are no parameters."""

    def __init__(self, gate_up: PreparedMatrix, down: PreparedMatrix) -> None:
        super().__init__()
        self.gate_up = gate_up
        self.down = down
        self.weight = nn.Parameter(torch.ones(64, dtype=torch.bfloat16, device=DEVICE))

    def forward(self, x: Tensor) -> Tensor:
        hidden = linear(x, self.gate_up, activation="silu", norm=Norm(self.weight, 1e-6))
        return linear(hidden, self.down, residual=x)


def layer(seed: int = 0) -> Layer:
    gate_up = prepare(random_matrix((96, 64), 4, 32, seed=seed, device=DEVICE))
    return Layer(gate_up, prepare(random_matrix((64, 48), 3, 16, seed=seed + 1, device=DEVICE)))


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@torch.no_grad()
def test_a_module_compiles_to_one_graph():
    model = layer()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for rows in (3, 5, 40):  # the second number of rows makes it a symbol
        x = random_rows((2, rows, 64), torch.bfloat16, device=DEVICE)
        assert torch.equal(compiled(x), model(x))


@torch.no_grad()
def test_layers_that_share_their_code_share_graphs():
    """Twelve layers, each with matrices of its own: with its setting the compiler does not give up."""
    model = nn.ModuleList(layer(seed) for seed in range(12))
    x = random_rows((2, 64), torch.bfloat16, device=DEVICE)
    with torch._dynamo.config.patch(allow_unspec_int_on_nn_module=True):
        for one in model:
            one.compile(fullgraph=True, backend="aot_eager")
            assert torch.equal(one(x), one.forward(x))


@torch.no_grad()
def test_many_layers_compile_whole():
    model = nn.Sequential(*(layer(seed) for seed in range(12)))
    x = random_rows((2, 64), torch.bfloat16, device=DEVICE)
    assert torch.equal(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))


@torch.no_grad()
def test_experts_compile():
    stack = prepare(random_matrix((4, 24, 64), 4, 32, device=DEVICE))

    @torch.compile(fullgraph=True, backend="aot_eager")
    def routed(x: Tensor, expert: Tensor) -> Tensor:
        return expert_linear(x, stack, expert) * 2

    x = random_rows((6, 64), torch.bfloat16, device=DEVICE)
    expert = torch.tensor([3, 0, 0, 2, 9, 3], device=DEVICE)
    assert torch.equal(routed(x, expert), expert_linear(x, stack, expert) * 2)
    pairs = expert.view(6, 1).expand(6, 2)
    gated = torch.compile(partial(expert_linear, activation="silu"), fullgraph=True, backend="aot_eager")
    assert torch.equal(gated(x, stack, pairs), expert_linear(x, stack, pairs, activation="silu"))


def test_operators_hold_what_torch_asks_of_them():
    matrix = prepare(random_matrix((48, 64), 4, 32, device=DEVICE))
    x = random_rows((2, 3, 64), torch.bfloat16, device=DEVICE)
    bias = random_rows((48,), torch.bfloat16, device=DEVICE)
    residual = random_rows((2, 3, 24), torch.bfloat16, device=DEVICE)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    operator = torch.ops.fqconsole.linear
    torch.library.opcheck(operator, (x, matrix.number, 48, bias), test_utils=checks)
    torch.library.opcheck(
        operator, (x, matrix.number, 24, bias, residual, "silu", x[0, 0].clone(), 1e-6), test_utils=checks
    )
    stack = prepare(random_matrix((4, 24, 64), 4, 32, device=DEVICE))
    expert = torch.tensor([3, 0], device=DEVICE)
    torch.library.opcheck(
        torch.ops.fqconsole.expert_linear, (x[0, :2], stack.number, 24, expert), test_utils=checks
    )


def test_eager_calls_go_past_the_operator(monkeypatch):
    matrix = prepare(random_matrix((48, 64), 4, 32, device=DEVICE))
    monkeypatch.delattr(torch.ops, "fqconsole")
    assert linear(random_rows((1, 64), torch.bfloat16, device=DEVICE), matrix).shape == (1, 48)


def test_a_matrix_that_is_gone_is_said():
    matrix = prepare(random_matrix((48, 64), 4, 32, device=DEVICE))
    number = matrix.number
    assert PreparedMatrix.numbered(number) is matrix
    del matrix
    gc.collect()
    with pytest.raises(ValueError, match="is gone"):
        torch.ops.fqconsole.linear(random_rows((1, 64), torch.bfloat16, device=DEVICE), number, 48)
