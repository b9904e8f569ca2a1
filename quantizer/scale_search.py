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

A GPU finds the scales of a CPU: what is summed is rounded to a grid on which the sums of up to `CHUNK` terms
are exact in float32, whatever their order, or it is added in one order; powers are made in float64.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from quantizer.rounding import grouped, largest_code, signed_extremes, stored_absmax, usable_scales
from quantizer.sums import exact_sum, on_grid, ordered_sum

# By bits, the step of least squared error in standard deviations of a Gaussian, codes -2^(b-1) to 2^(b-1)-1:
# the minimum over s of E[(x - s · clamp(round(x / s)))²].
GAUSSIAN_STEP = {3: 0.605, 4: 0.34}
# Clippings tried: factor · r^exponent. Their squared error is within 2 % of that of a grid of 26 on Gaussian,
# t(5) and trained weights in groups of 16 to 4,096; that of 1, 0.9 … 0.6 is 20 % off for heavy tails.
BITS_SQUARED = 9  # of a grid: CHUNK squares of such numbers fit into float32's 24 bits
BITS_TIMES_CODE = 15  # CHUNK of them times codes of up to 4 bits, of either sign
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
    tried = _tried(groups, extremes, steps, GAUSSIAN_STEP[bits])
    if power == 2:
        found = _least_squares(groups, extremes, tried, bits, importance)
    else:
        found = _least_power(groups, tried, bits, importance, power=power)
    return usable_scales(found, plain)


def _tried(groups: Tensor, extremes: Tensor, steps: Tensor, gaussian: float) -> Tensor:
    """`[C, N, G]`: the steps under each clipping; a group of zeros has zeros or NaN."""
    rough = on_grid(groups.clone(), extremes, BITS_SQUARED)
    deviation = exact_sum(rough.square_()).sqrt_()
    ratio = (deviation * (gaussian / groups.shape[-1] ** 0.5) / steps.abs()).clamp_(max=1)
    powers = {0.0: torch.ones_like(ratio), 1.0: ratio}
    return torch.stack([_power(ratio, e, powers) * steps * factor for factor, e in CLIPPINGS])


def _power(ratio: Tensor, exponent: float, known: Mapping[float, Tensor]) -> Tensor:
    """In float64: where a GPU and a CPU differ in its last bit, float32 does not show it."""
    return known[exponent] if exponent in known else (ratio.double() ** exponent).float()


def _least_squares(
    groups: Tensor, extremes: Tensor, tried: Tensor, bits: int, importance: Tensor | None
) -> Tensor:
    weighted = _weigh(groups.clone(), importance)
    largest = extremes if importance is None else torch.maximum(weighted.amax(-1), -weighted.amin(-1))
    on_grid(weighted, largest, BITS_TIMES_CODE)
    inverse = tried.reciprocal().unsqueeze(-1)
    codes, squares = torch.empty_like(groups), None if importance is None else torch.empty_like(groups)
    agreement, length = torch.empty_like(tried), torch.empty_like(tried)
    for place in range(len(tried)):
        _round(groups, inverse[place], bits, out=codes)
        if squares is None:  # whole numbers: exact
            torch.linalg.vector_norm(codes, dim=-1, out=length[place]).square_()
        else:
            length[place] = ordered_sum(_weigh(torch.mul(codes, codes, out=squares), importance))
        agreement[place] = exact_sum(codes.mul_(weighted))
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
