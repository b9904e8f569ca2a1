# ruff: noqa: PLR0917 — a case has as many parts as it has
"""What every fused kernel must hold, on any device: used through the interpreter and on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kernels.decode import decode_reference
from kernels.decode_plan import DecodePlan
from kernels.epilogue import Activation, Epilogue, Norm
from kernels.experts import ExpertsPlan, expert_matmul_reference
from kernels.lane_layout import to_lanes
from kernels.tiles import Gpu, Tile, choose_tile
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error

GPU = Gpu()
GROUPS = (None, 16, 32, 48, 64, 96, 128, 256, 512)


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fresh tensors hold NaN, so an output that nobody wrote is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.isnan(torch.empty(3)).all()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@dataclass(frozen=True)
class Extras:
    """What stands around the product."""

    bias: bool = False
    residual: bool = False
    activation: Activation | None = None
    norm: bool = False

    def epilogue(self, m: int, n: int, k: int, dtype: torch.dtype, seed: int, device: str) -> Epilogue:
        """Random tensors for each part."""
        outputs = n if self.activation is None else n // 2
        return Epilogue(
            random_rows((n,), dtype, seed, device) if self.bias else None,
            random_rows((m, outputs), dtype, seed + 1, device) if self.residual else None,
            self.activation,
            Norm(random_rows((k,), dtype, seed + 2, device), 1e-5) if self.norm else None,
        )


def check_matmul(
    bits: int, group_size: int | None, dtype: torch.dtype, m: int, n: int, k: int, *,
    scale_dtype: torch.dtype | None = None, extras: Extras | None = None, tile: Tile | None = None,
    seed: int = 0, device: str = "cpu", gpu: Gpu = GPU, runs: int = 2,
) -> None:  # fmt: skip
    """Within the tolerance of float64, and the same bit for bit when run again."""
    extras = extras or Extras()
    w = random_matrix((n, k), bits, group_size, scale_dtype or dtype, seed, device)
    x = random_rows((m, k), dtype, seed + 1, device)
    epilogue = extras.epilogue(m, n, k, dtype, seed + 2, device)
    paired = extras.activation is not None
    tile = tile or choose_tile(bits, group_size, m, n, k, gpu=gpu, paired=paired)
    plan = DecodePlan(to_lanes(w, scale_dtype or dtype), tile, gpu, paired=paired)
    with poisoned_memory():
        out = plan.multiply(x, epilogue)
        again = [plan.multiply(x, epilogue) for _ in range(runs - 1)]
    error = relative_error(out, decode_reference(x, w, epilogue))
    assert error <= TOLERANCE[dtype], f"relative error {error:.2e} with {tile}, {extras}"
    assert all(torch.equal(out, other) for other in again)


def check_fed_norm(
    first: tuple[int, int], second: tuple[int, int], m: int, n: int, *, residual: bool = True,
    activation: Activation | None = None, seed: int = 0, device: str = "cpu", gpu: Gpu = GPU,
) -> None:  # fmt: skip
    """Two products with a norm between them, each of (bits, group size): what the first leaves for the norm
    gives what the norm of its result gives, and that result is as it is without.
    """
    dtype, k = torch.bfloat16, 512
    before = random_matrix((n, k), *first, dtype, seed, device)
    behind = random_matrix((64, n), *second, dtype, seed + 1, device)
    x = random_rows((m, k), dtype, seed + 2, device)
    added = Extras(residual=residual, bias=not residual).epilogue(m, n, k, dtype, seed + 3, device)
    norm = Norm(random_rows((n,), dtype, seed + 4, device), 1e-5)
    paired = activation is not None
    plans = [
        DecodePlan(
            to_lanes(w, dtype), choose_tile(*scheme, m, w.n, w.k, gpu=gpu, paired=both), gpu, paired=both
        )
        for w, scheme, both in ((before, first, False), (behind, second, paired))
    ]
    with poisoned_memory():
        total, scaled = plans[0].multiply_and_scale(x, added, norm.weight)
        fed = Epilogue(None, None, activation, replace(norm, scaled=scaled))
        out = plans[1].multiply(total, fed)
    assert torch.equal(total, plans[0].multiply(x, added))
    wide = total.double()
    normed = wide / (wide.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight.double()
    error = relative_error(out, decode_reference(normed, behind, Epilogue(activation=activation)))
    most = TOLERANCE[dtype] * (1 if activation is None else 1.5)  # errors of gate and up add up
    assert error <= most, f"relative error {error:.2e}"


def check_every_weight(
    bits: int, group_size: int | None, dtype: torch.dtype, k: int, *, device: str = "cpu", gpu: Gpu = GPU
) -> None:
    """Rows of the identity pick single weights: each must come out exactly, in its place."""
    n = 20 if device == "cuda" else 16
    w = random_matrix((n, k), bits, group_size, dtype, device=device)
    identity = torch.eye(k, dtype=dtype, device=device)
    plan = DecodePlan(to_lanes(w, dtype), choose_tile(bits, group_size, 32, n, k, gpu=gpu), gpu)
    with poisoned_memory():
        out: Tensor = torch.cat([plan.multiply(rows) for rows in identity.split(32)])
    assert torch.equal(out.mT, w.dequantize(dtype))


def check_experts(
    bits: int, group_size: int | None, dtype: torch.dtype, expert: list[int], experts: int, n: int, k: int, *,
    sort: bool | None = None, tile: Tile | None = None, activation: Activation | None = None, share: int = 1,
    seed: int = 0, device: str = "cpu", gpu: Gpu = GPU,
) -> None:  # fmt: skip
    """Each row meets its expert's matrix; a row without an expert is zero."""
    w = random_matrix((experts, n, k), bits, group_size, dtype, seed, device)
    x = random_rows((len(expert) // share, k), dtype, seed + 1, device)
    ids = torch.tensor(expert, device=device)
    plan = ExpertsPlan(to_lanes(w, dtype), len(expert), gpu, tile=tile, sort=sort, activation=activation)
    with poisoned_memory():
        out = plan.multiply(x, ids)
        again = plan.multiply(x, ids)
    known = ids < experts
    assert torch.count_nonzero(out[~known]) == 0
    assert torch.equal(out, again)
    if known.any():
        error = relative_error(out, expert_matmul_reference(x, w, ids, activation))
        assert error <= TOLERANCE[dtype], f"relative error {error:.2e} with {plan.tile}"
