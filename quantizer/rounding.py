"""Round-to-nearest of one matrix `[N, K]` in symmetric groups along K. Pure functions on tensors.

    absmax    scale = absmax / (2^(b-1) - 1), stored in 16 bits
    signed    scale = m / -2^(b-1), m the weight of largest magnitude: it gets the lowest code, of which there
              is one more than of the highest, so the step is finer by (2^(b-1) - 1) / 2^(b-1)
    code = round(w / stored scale)        ŵ = code · stored scale

The scale that is stored is the scale that is used in rounding, so nothing is lost between writing and
reading. Scales may be negative.
"""

import torch
from torch import Tensor

from fqconsole.errors import OperatorError

SCALE_DTYPES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def largest_code(bits: int) -> int:
    """2^(b-1) - 1: the code of the largest magnitude of a group."""
    return (1 << (bits - 1)) - 1


def grouped(matrix: Tensor, group_size: int | None) -> Tensor:
    """`[N, K]` seen as `[N, G, K/G]`; raises ValueError where the group does not divide K."""
    rows, k = matrix.shape
    size = k if group_size is None else group_size
    if k % size:
        raise ValueError(f"group size {size} does not divide K={k}")
    return matrix.reshape(rows, k // size, size)


def group_absmax(matrix: Tensor, group_size: int | None) -> Tensor:
    """float32 `[N, G]`: the largest magnitude of each group of a matrix `[N, K]` of any float dtype."""
    groups = grouped(matrix, group_size)
    if groups.element_size() != 2:
        return groups.abs().amax(dim=-1).float()
    if groups.shape[-1] % 2 or groups.storage_offset() % 2 or not groups.is_contiguous():
        magnitudes = groups.view(torch.int16) & 0x7FFF
        return magnitudes.amax(dim=-1).view(groups.dtype).float()
    # Without the sign bit 16-bit floats are ordered as their bits are. Two lie in a 32-bit integer, and those
    # are compared three times as fast: by the upper one, then by the lower one moved up.
    pairs = groups.view(torch.int32)
    upper = (pairs & 0x7FFFFFFF).amax(dim=-1)
    lower = (pairs << 16).bitwise_and_(0x7FFFFFFF).amax(dim=-1)
    largest = torch.maximum(upper, lower) >> 16
    return largest.to(torch.int16).view(groups.dtype).float()


def absmax_scales(
    matrix: Tensor, bits: int, group_size: int | None, scale_dtype: torch.dtype, name: str
) -> Tensor:
    """Scales `[N, G]` in `scale_dtype` of a float matrix `[N, K]`; a group of zeros has scale 1.

    Where 16 bits are too coarse for the scale (subnormal fp16: the largest weight would be clipped by more
    than half a step), the next larger number is taken. Raises OperatorError, naming the tensor, for weights
    that are not finite and for scales beyond the range of `scale_dtype`.
    """
    return stored_absmax(group_absmax(matrix, group_size), bits, scale_dtype, name)


def stored_absmax(absmax: Tensor, bits: int, scale_dtype: torch.dtype, name: str) -> Tensor:
    """`absmax_scales` of groups whose largest magnitudes, float32 `[N, G]`, are known."""
    # By a tensor: a GPU divides by a plain number in multiplying by its inverse, which rounds otherwise.
    stored = (absmax / torch.full_like(absmax, largest_code(bits))).to(scale_dtype)
    number = torch.finfo(scale_dtype)
    lowest, highest = torch.stack(torch.aminmax(stored)).tolist()
    if number.tiny <= lowest and highest <= number.max:  # as nearly always; False where one is NaN
        return stored
    if not bool(torch.isfinite(stored).all()):
        check_finite(absmax, name)
        word = str(scale_dtype).removeprefix("torch.")
        raise OperatorError(
            f"{name} has weights up to {float(absmax.max()):.3g}, whose scale does not fit in {word}.",
            "Convert the model to bfloat16 first.",
        )
    clipped = absmax > stored.float() * (largest_code(bits) + 0.5)
    # Positive floats are ordered as their bits are: adding one to the bits gives the next larger number.
    larger = (stored.view(torch.int16) + 1).view(scale_dtype)
    stored = torch.where(clipped, larger, stored)
    return torch.where(absmax == 0, torch.ones_like(stored), stored)


def signed_extremes(matrix: Tensor, group_size: int | None) -> Tensor:
    """float32 `[N, G]`: the weight of largest magnitude of each group of a float32 matrix `[N, K]`."""
    groups = grouped(matrix, group_size)
    highest, lowest = groups.amax(dim=-1), groups.amin(dim=-1)
    return torch.where(highest >= -lowest, highest, lowest)


def signed_scales(
    matrix: Tensor, bits: int, group_size: int | None, scale_dtype: torch.dtype, name: str
) -> Tensor:
    """Scales `[N, G]` in `scale_dtype`, of either sign, of a float32 matrix `[N, K]`; a group of zeros has 1.

    Raises what `absmax_scales` raises.
    """
    extremes = signed_extremes(matrix, group_size)
    plain = stored_absmax(extremes.abs(), bits, scale_dtype, name)
    return usable_scales(extremes / -(largest_code(bits) + 1), plain)


def usable_scales(wanted: Tensor, plain: Tensor) -> Tensor:
    """Scales in the dtype of `plain`: `wanted` where that dtype holds it well, else `plain`.

    Below its normal numbers 16 bits are too coarse for any scale but that of `absmax_scales`.
    """
    stored = wanted.to(plain.dtype)
    well = (stored.abs() >= torch.finfo(plain.dtype).tiny) & torch.isfinite(stored)
    return torch.where(well, stored, plain)


def check_finite(absmax: Tensor, name: str) -> None:
    """Raises OperatorError, naming the tensor, when a range is infinite or not a number."""
    if not bool(torch.isfinite(absmax).all()):
        raise OperatorError(
            f"{name} holds weights that are not finite numbers (NaN or infinity).",
            "Download or convert the model again: it is damaged.",
        )


def round_to_codes(matrix: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Codes int8 in [-2^(b-1), 2^(b-1)-1] of a float32 matrix `[N, K]` under stored scales `[N, G]`."""
    rows, k = matrix.shape
    groups = matrix.reshape(rows, scales.shape[1], k // scales.shape[1])
    codes = torch.round(groups / scales.float().unsqueeze(-1))
    return codes.clamp_(-largest_code(bits) - 1, largest_code(bits)).to(torch.int8).reshape(rows, k)


def dequantize(codes: Tensor, scales: Tensor) -> Tensor:
    """float32 `[N, K]` from codes int8 `[N, K]` and scales `[N, G]`."""
    rows, k = codes.shape
    groups = codes.reshape(rows, scales.shape[1], k // scales.shape[1])
    return (groups.float() * scales.float().unsqueeze(-1)).reshape(rows, k)


def round_in_place(wide: Tensor, scales: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes int8 `[N, K]` of a float32 matrix under stored scales `[N, G]`, and ‖W−Ŵ‖ of each group `[N, G]`.

    The codes of `round_to_codes`; the matrix is used up, so that nothing is written to memory but once.
    """
    rows, k = wide.shape
    wide_scales = scales.float()
    groups = wide.view(rows, scales.shape[1], k // scales.shape[1]).div_(wide_scales.unsqueeze(-1))
    codes = torch.round(groups).clamp_(-largest_code(bits) - 1, largest_code(bits))
    distance = torch.linalg.vector_norm(groups.sub_(codes), dim=-1)  # in steps of the group's scale
    return codes.to(torch.int8).view(rows, k), distance.mul_(wide_scales)


def quantize_matrix(
    matrix: Tensor, bits: int, group_size: int | None, scale_dtype: torch.dtype, name: str
) -> tuple[Tensor, Tensor]:
    """Codes int8 `[N, K]` and scales `[N, G]` of a matrix `[N, K]` of any float dtype.

    Raises what `absmax_scales` raises.
    """
    wide = matrix.float()
    scales = absmax_scales(wide, bits, group_size, scale_dtype, name)
    return round_to_codes(wide, scales, bits), scales


def squared_norms(matrix: Tensor, rounded: Tensor) -> tuple[float, float]:
    """‖W−Ŵ‖² and ‖W‖² of float32 tensors, summed in float64."""
    error = torch.linalg.vector_norm(matrix - rounded, dtype=torch.float64)
    whole = torch.linalg.vector_norm(matrix, dtype=torch.float64)
    return float(error) ** 2, float(whole) ** 2


def relative_error(squared_error: float, squared_norm: float) -> float:
    """‖W−Ŵ‖/‖W‖ from sums of squares; 0 for a matrix of zeros."""
    return (squared_error / squared_norm) ** 0.5 if squared_norm else 0.0
