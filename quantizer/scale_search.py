"""The scale of each group that loses least, found among a few clippings of its range.

For a group w with weights h on its channels (h = 1 without importance) and a clipping c of its range:

    first    s_c = c · m / -2^(b-1),  m the weight of largest magnitude      (signed: m has the lowest code)
    codes    q = round(w / s_c), clamped
    fit      Σ h (w - s q)² is least at  s = Σ h w q ÷ Σ h q²,  and is then  Σ h w² - (Σ h w q)² ÷ Σ h q²

so the clipping whose (Σ h w q)² ÷ Σ h q² is largest wins, and the scale that its codes ask for is stored:
every candidate is refined by least squares at no cost. The weights are then rounded once more, with the scale
as stored. With a power other than 2 there is no such shortcut: Σ h |w - s q|^p is computed for each
candidate.

Which clippings are worth trying the group tells itself: a Gaussian one of standard deviation σ is best cut
into steps of `GAUSSIAN_STEP` · σ, so with r that step ÷ the signed one, at most 1, the best lies between 1
and r. At 8 bits r is about 1, and there is nothing to search.

Sums are made in one order (`ordered_sum`) and powers in float64, so that a GPU finds the scales of a CPU.
"""

from functools import partial

import torch
from torch import Tensor

from quantizer.rounding import (
    grouped,
    largest_code,
    ordered_sum,
    signed_extremes,
    stored_absmax,
    usable_scales,
)

# By bits, the step of least squared error in standard deviations of a Gaussian, codes -2^(b-1) to 2^(b-1)-1:
# the minimum over s of E[(x - s · clamp(round(x / s)))²].
GAUSSIAN_STEP = {3: 0.605, 4: 0.34}
# Clippings tried: factor · r^exponent. Their squared error is within 2 % of that of a grid of 26 on Gaussian,
# t(5) and trained weights in groups of 16 to 4,096; that of 1, 0.9 … 0.6 is 20 % off for heavy tails.
CLIPPINGS = ((1.0, 0.0), (1.0, 0.65), (0.93, 1.0))


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
    steps = extremes / -(largest_code(bits) + 1)
    if bits not in GAUSSIAN_STEP:
        return usable_scales(steps, plain)
    groups = grouped(matrix, group_size)
    tried = _tried(groups, steps, GAUSSIAN_STEP[bits])
    find = _least_squares if power == 2 else partial(_least_power, power=power)
    return usable_scales(find(groups, tried, bits, importance), plain)


def _tried(groups: Tensor, steps: Tensor, gaussian: float) -> Tensor:
    """`[C, N, G]`: the steps under each clipping; a group of zeros has zeros or NaN."""
    variance = ordered_sum(groups.square()).double() / groups.shape[-1]
    ratio = (variance.sqrt_() * gaussian / steps.abs()).clamp_(max=1)
    return torch.stack([(ratio**exponent * steps * factor).float() for factor, exponent in CLIPPINGS])


def _least_squares(groups: Tensor, tried: Tensor, bits: int, importance: Tensor | None) -> Tensor:
    root = None if importance is None else importance.sqrt()
    weighted = groups if root is None else _weigh(groups.clone(), root)
    inverse = tried.reciprocal().unsqueeze(-1)
    codes, squares = torch.empty_like(groups), torch.empty_like(groups)
    agreement, length = torch.empty_like(tried), torch.empty_like(tried)
    for place in range(len(tried)):
        _weigh(_round(groups, inverse[place], bits, out=codes), root)
        torch.mul(codes, codes, out=squares)
        length[place] = ordered_sum(squares)
        agreement[place] = ordered_sum(codes.mul_(weighted))
    fitted = agreement / length
    # max() and not argmax(): the same numbers, at a twentieth of the time on a CPU
    best = torch.max(agreement.mul_(fitted), dim=0, keepdim=True).indices
    return fitted.gather(0, best).squeeze(0)


def _least_power(
    groups: Tensor, tried: Tensor, bits: int, importance: Tensor | None, *, power: float
) -> Tensor:
    codes, scratch = torch.empty_like(groups), torch.empty_like(groups)
    best = torch.full_like(tried[0], torch.inf)
    scales = tried[0]
    for steps in tried:
        _round(groups, steps.reciprocal().unsqueeze(-1), bits, out=codes)
        length = ordered_sum(_weigh(torch.mul(codes, codes, out=scratch), importance))
        agreement = ordered_sum(_weigh(torch.mul(codes, groups, out=scratch), importance))
        for candidate in (steps, agreement / length):
            _round(groups, candidate.reciprocal().unsqueeze(-1), bits, out=codes)
            torch.mul(codes, candidate.unsqueeze(-1), out=scratch).sub_(groups).abs_().pow_(power)
            error = ordered_sum(_weigh(scratch, importance))
            better = error < best
            best = torch.where(better, error, best)
            scales = torch.where(better, candidate, scales)
    return scales


def _round(groups: Tensor, inverse: Tensor, bits: int, *, out: Tensor) -> Tensor:
    """Codes as floats, into `out`, from reciprocals of scales; a group without range gets zeros or NaN."""
    largest = largest_code(bits)
    return torch.mul(groups, inverse, out=out).round_().clamp_(-largest - 1, largest)


def _weigh(values: Tensor, weights: Tensor | None) -> Tensor:
    """Multiply `[N, G, K/G]` in place by weights of its K channels."""
    if weights is not None:
        values.view(values.shape[0], -1).mul_(weights)
    return values
