# ruff: noqa: PLR0917 — a case has as many parts as it has
"""What every fused kernel must hold, on any device: used through the interpreter and on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kernels.dequantize import dequantize_rows
from kernels.experts import expert_matmul, expert_matmul_reference
from kernels.matmul import matmul, matmul_reference
from kernels.tiles import Gpu, Tile, choose_expert_tile, choose_tile
from tests.kernels.cases import TOLERANCE, random_matrix, random_rows, relative_error

GPU = Gpu()
GROUPS = (None, 16, 32, 64, 128, 256)


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


def split_tile(tile: Tile, split: int | None) -> Tile:
    """The same tile with K cut into `split` parts."""
    if split is None:
        return tile
    return Tile(tile.rows, tile.outputs, tile.columns, split, tile.warps, tile.stages)


def check_matmul(
    bits: int, group_size: int | None, dtype: torch.dtype, m: int, n: int, k: int, *,
    scale_dtype: torch.dtype | None = None, with_bias: bool = False, split: int | None = None,
    scales_along_n: bool = True, seed: int = 0, device: str = "cpu", gpu: Gpu = GPU,
) -> None:  # fmt: skip
    """Within the tolerance of float64, and the same bit for bit when run again."""
    w = random_matrix((n, k), bits, group_size, scale_dtype or dtype, seed, device)
    if scales_along_n:
        object.__setattr__(w, "scales", w.scales.mT.contiguous().mT)
    x = random_rows((m, k), dtype, seed + 1, device)
    bias = random_rows((n,), dtype, seed + 2, device) if with_bias else None
    tile = split_tile(choose_tile(bits, group_size, m, n, k, gpu=gpu), split)
    with poisoned_memory():
        out = matmul(x, w, bias, tile)
        again = matmul(x, w, bias, tile)
    error = relative_error(out, matmul_reference(x, w, bias))
    assert error <= TOLERANCE[dtype], f"relative error {error:.2e} with {tile}"
    assert torch.equal(out, again)


def check_every_weight(
    bits: int, group_size: int | None, dtype: torch.dtype, k: int, *, device: str = "cpu", gpu: Gpu = GPU
) -> None:
    """Rows of the identity pick single weights: each must come out exactly, in its place."""
    w = random_matrix((70, k), bits, group_size, dtype, device=device)
    x = torch.eye(k, dtype=dtype, device=device)
    with poisoned_memory():
        out = matmul(x, w, None, choose_tile(bits, group_size, k, 70, k, gpu=gpu))
    assert torch.equal(out.mT, w.dequantize(dtype))


def check_experts(
    bits: int, group_size: int | None, dtype: torch.dtype, expert: list[int], experts: int, n: int, k: int, *,
    seed: int = 0, device: str = "cpu", gpu: Gpu = GPU,
) -> None:  # fmt: skip
    """Each row meets its expert's matrix; a row without an expert is zero."""
    w = random_matrix((experts, n, k), bits, group_size, dtype, seed, device)
    x = random_rows((len(expert), k), dtype, seed + 1, device)
    ids = torch.tensor(expert, device=device)
    tile = choose_expert_tile(bits, group_size, len(expert) / experts, gpu)
    with poisoned_memory():
        out = expert_matmul(x, w, ids, tile)
        again = expert_matmul(x, w, ids, tile)
    known = ids < experts
    assert torch.count_nonzero(out[~known]) == 0
    assert torch.equal(out, again)
    if known.any():
        error = relative_error(out, expert_matmul_reference(x, w, ids))
        assert error <= TOLERANCE[dtype], f"relative error {error:.2e} with {tile}"


def check_dequantize(
    bits: int, group_size: int | None, dtype: torch.dtype, k: int, *, device: str = "cpu"
) -> None:
    """Bit for bit what plain PyTorch gives."""
    w = random_matrix((37, k), bits, group_size, torch.bfloat16, device=device)
    with poisoned_memory():
        out = dequantize_rows(w, torch.empty((37, k), dtype=dtype, device=device))
        part = dequantize_rows(w, torch.empty((9, k), dtype=dtype, device=device), 20)
    assert torch.equal(out, w.dequantize(dtype))
    assert torch.equal(part, out[20:29])
