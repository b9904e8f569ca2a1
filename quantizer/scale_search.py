"""The scale of each group that loses least, found among several clippings of its range.

For a group w with weights h on its channels (h = 1 without importance) and a clipping c of its range:

    first    s_c = c · m / -2^(b-1),  m the weight of largest magnitude      (signed: m has the lowest code)
    codes    q = round(w / s_c), clamped
    fit      Σ h (w - s q)² is least at  s = Σ h w q ÷ Σ h q²,  and is then  Σ h w² - (Σ h w q)² ÷ Σ h q²

so the clipping whose (Σ h w q)² ÷ Σ h q² is largest wins, and the scale that its codes ask for is stored:
every candidate is refined by least squares at no cost. The weights are then rounded once more, with the scale
as stored. With a power other than 2 there is no such shortcut: Σ h |w - s q|^p is computed for each
candidate.
"""

from functools import partial

import torch
from torch import Tensor

from quantizer.rounding import grouped, largest_code, signed_extremes, stored_absmax, usable_scales

# Gaussian groups of 16 to 16,384 weights at 3 to 8 bits are best clipped at 0.55 to 1; finer steps gain
# nothing once the fit refines each of them (python -m benchmarks.quality --methods).
CLIPPINGS = (1.0, 0.9, 0.8, 0.7, 0.6)


def searched_scales(
    matrix: Tensor,
    bits: int,
    group_size: int | None,
    scale_dtype: torch.dtype,
    name: str,
    *,
    importance: Tensor | None = None,
    power: float = 2.0,
) -> Tensor:
    """Scales `[N, G]` in `scale_dtype`, of either sign, of a float32 matrix `[N, K]`; a group of zeros has 1.

    `importance` float32 `[K]` weights the squared errors of the input channels. Raises what `absmax_scales`
    raises.
    """
    extremes = signed_extremes(matrix, group_size)
    plain = stored_absmax(extremes.abs(), bits, scale_dtype, name)
    weighted = matrix if importance is None else matrix * importance
    find = _least_squares if power == 2 else partial(_least_power, power=power)
    steps = extremes / -(largest_code(bits) + 1)
    found = find(grouped(matrix, group_size), grouped(weighted, group_size), steps, bits, importance)
    return usable_scales(found, plain)


def _least_squares(
    groups: Tensor, weighted: Tensor, steps: Tensor, bits: int, importance: Tensor | None
) -> Tensor:
    codes, scratch = torch.empty_like(groups), torch.empty_like(groups)
    best = torch.zeros_like(steps)
    scales = steps
    for clipping in CLIPPINGS:
        _round(groups, steps * clipping, bits, out=codes)
        agreement = torch.mul(codes, weighted, out=scratch).sum(dim=-1)
        length = _weigh(torch.mul(codes, codes, out=scratch), importance).sum(dim=-1)
        explained = agreement * agreement / length
        better = explained > best
        best = torch.where(better, explained, best)
        scales = torch.where(better, agreement / length, scales)
    return scales


def _least_power(
    groups: Tensor,
    weighted: Tensor,
    steps: Tensor,
    bits: int,
    importance: Tensor | None,
    *,
    power: float,
) -> Tensor:
    codes, scratch = torch.empty_like(groups), torch.empty_like(groups)
    best = torch.full_like(steps, torch.inf)
    scales = steps
    for clipping in CLIPPINGS:
        _round(groups, steps * clipping, bits, out=codes)
        agreement = torch.mul(codes, weighted, out=scratch).sum(dim=-1)
        length = _weigh(torch.mul(codes, codes, out=scratch), importance).sum(dim=-1)
        for candidate in (steps * clipping, agreement / length):
            _round(groups, candidate, bits, out=codes)
            torch.mul(codes, candidate.unsqueeze(-1), out=scratch).sub_(groups).abs_().pow_(power)
            error = _weigh(scratch, importance).sum(dim=-1)
            better = error < best
            best = torch.where(better, error, best)
            scales = torch.where(better, candidate, scales)
    return scales


def _round(groups: Tensor, scales: Tensor, bits: int, *, out: Tensor) -> None:
    """Codes as floats, into `out`; a group without range gets zeros or NaN, and wins nothing."""
    largest = largest_code(bits)
    torch.mul(groups, scales.reciprocal().unsqueeze(-1), out=out).round_().clamp_(-largest - 1, largest)


def _weigh(values: Tensor, importance: Tensor | None) -> Tensor:
    """Multiply `[N, G, K/G]` in place by the importance of its K channels."""
    if importance is not None:
        values.view(values.shape[0], -1).mul_(importance)
    return values
