"""What stands in place of a model's linears and experts, and when it may."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from fqconsole.generation.modules import PackedExperts, gate_of, linear_form
from kernels import PackedMatrix
from kernels.packing import pack_codes
from kernels.prepared import DequantizedMatrix


class OtherWords(nn.Linear):
    def forward(self, x):
        out = x @ self.weight.T
        return out if self.bias is None else out + self.bias


class Grouped(nn.Linear):
    def forward(self, x):
        return torch.bmm(x.reshape(-1, 2, x.shape[-1]), self.weight.view(2, -1, x.shape[-1]).mT)


class Scaled(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("module", "form"),
    [
        (nn.Linear(6, 4), "linear"),
        (OtherWords(6, 4), "linear"),
        (OtherWords(6, 4, bias=False), "linear"),
        (Grouped(6, 4, bias=False), None),
        (Scaled(6, 4), None),
        (Conv1D(4, 6), "conv1d"),
        (nn.Embedding(6, 4), None),
    ],
)
def test_a_class_of_its_own_is_packed_only_when_it_multiplies_as_a_linear_does(module, form):
    before = torch.random.get_rng_state()
    assert linear_form(module) == form
    assert torch.equal(torch.random.get_rng_state(), before)
    assert module.weight.numel() == 24  # nothing of the trial stays


def stack(experts, n, k, seed):
    make = torch.Generator().manual_seed(seed)
    codes = torch.randint(-8, 8, (experts, n, k), generator=make, dtype=torch.int8)
    scales = torch.rand(experts, n, 1, generator=make) + 0.5
    return PackedMatrix(pack_codes(codes, 4), scales, 4, None, k)


def test_experts_with_biases_equal_the_sum_written_out():
    rising, falling = stack(3, 8, 32, 1), stack(3, 32, 4, 2)
    up, down = (matrix.dequantize(torch.float32) for matrix in (rising, falling))
    biases = [nn.Parameter(torch.randn(3, n), requires_grad=False) for n in (8, 32)]

    def gate(raised):  # interleaved, as gpt-oss has it
        return raised[..., ::2] * raised[..., 1::2]

    packed = PackedExperts(
        (DequantizedMatrix(rising),), DequantizedMatrix(falling), gate, None,
        experts=3, gate_up_proj_bias=biases[0], down_proj_bias=biases[1],
    )  # fmt: skip
    x, chosen = torch.randn(5, 32), torch.tensor([[0, 2], [1, 0], [2, 1], [2, 0], [1, 2]])
    weights = torch.rand(5, 2)
    expected = torch.zeros(5, 32)
    for token in range(5):
        for place, expert in enumerate(chosen[token]):
            inner = gate(up[expert] @ x[token] + biases[0][expert])
            expected[token] += weights[token, place] * (down[expert] @ inner + biases[1][expert])
    assert torch.allclose(packed(x, chosen, weights), expected, rtol=1e-4, atol=1e-3)


def test_rows_that_are_sorted_by_expert_go_through_theirs_each():
    rising, falling = stack(2, 8, 32, 3), stack(2, 32, 4, 4)
    up, down = (matrix.dequantize(torch.float32) for matrix in (rising, falling))

    def gate(raised):
        return raised.chunk(2, -1)[0]

    packed = PackedExperts((DequantizedMatrix(rising),), DequantizedMatrix(falling), gate, None, experts=2)
    x = torch.randn(6, 32)
    expected = torch.cat([gate(x[3 * e : 3 * e + 3] @ up[e].T) @ down[e].T for e in range(2)])
    assert torch.allclose(packed(x), expected, rtol=1e-4, atol=1e-3)


def test_a_gate_that_nothing_tells_of_is_not_guessed():
    class Experts(nn.Module):
        def forward(self, hidden_states, top_k_index, top_k_weights): ...

    experts = Experts()
    assert gate_of(experts) is None
    experts._apply_gate = lambda raised: raised
    assert gate_of(experts) is experts._apply_gate
    experts.has_post_expert_norm = True
    assert gate_of(experts) is None
