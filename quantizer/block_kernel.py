# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# mypy: disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917, RET505, SIM102 — Triton compiles one branch of an `if` and takes many arguments
"""Groups of 16 to 128 weights on a GPU, in one pass: prepare, find the scale, round, pack, sum the errors.

Rows `[n, K]` are one line of n · K / g groups, and so are their scales and packed words. A program holds
WEIGHTS of that line in registers as `[groups, g]`:

    rows ── · column factor · row factor ── scale of each group ── codes ─┬─ words, scales
                                                                          └─ Σ (w-ŵ)², Σ w² of the program

To the last bit it is what `quantizer.blocks` makes of the same rows on a CPU: every formula is that of
`quantizer.rounding` and `quantizer.scale_search`, with divisions and roots rounded as IEEE says and no
product fused with a sum. Sums are exact in any order or, where `ordered_sum` has an order, made in that one:
halves are added, and a sum of two has but one order. Sums of errors are for people: float64, and the same in
every run.

What is not like weights makes no scale here: NaN, infinity, magnitudes beyond 2^±50, whose squares float32
might not hold, and scales that their dtype does not hold. Such groups are counted, and whoever asked goes the
plain way, which has the sentences for them.
"""

import struct
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.fragments import round_to
from kernels.launch import Launch
from kernels.step_launch import kinds, on
from quantizer.rounding import largest_code
from quantizer.scale_search import BITS_SQUARED, BITS_TIMES_CODE, CLIPPINGS, GAUSSIAN_STEP
from quantizer.scheme import words_per_row
from quantizer.sums import CHUNK, EXPONENT, ROUNDER

WEIGHTS = 2048  # a program: 16 a thread, of which a search keeps four copies in registers
WARPS = 4
LARGEST = 2.0**50
COMPILING = threading.Lock()

MAGNITUDE = tl.constexpr(0x7FFFFFFF)
POWER_OF_TWO = tl.constexpr(EXPONENT)
ANY_ORDER = tl.constexpr(CHUNK)
TO_WHOLE = tl.constexpr(ROUNDER)
TRIED = tl.constexpr(len(CLIPPINGS))
FACTORS = tl.constexpr(tuple(factor for factor, _ in CLIPPINGS))
EXPONENTS = tl.constexpr(tuple(exponent for _, exponent in CLIPPINGS))
TOO_LARGE = tl.constexpr(LARGEST)
TOO_SMALL = tl.constexpr(1 / LARGEST)


@triton.jit
def rounded(x):
    """To whole numbers, half to even; |x| < 2^22."""
    return (x + TO_WHOLE) - TO_WHOLE


@triton.jit
def to_grid(values, largest, GRID: tl.constexpr):
    """`quantizer.sums.on_grid`; GRID is twice ROUNDER, in steps of the grid."""
    below = (largest.to(tl.int32, bitcast=True) & POWER_OF_TWO).to(tl.float32, bitcast=True)
    rounder = (below * GRID)[:, None]
    return (values + rounder) - rounder


@triton.jit
def ordered_sum(values):
    """`quantizer.sums.ordered_sum` of `[groups, g]`, g a power of two."""
    size: tl.constexpr = values.shape[1]
    if size == 1:
        return tl.reshape(values, (values.shape[0],))
    else:
        return ordered_sum(tl.sum(tl.reshape(values, (values.shape[0], 2, size // 2)), axis=1))


@triton.jit
def exact_sum(values):
    """`quantizer.sums.exact_sum` of `[groups, g]`, g a power of two."""
    size: tl.constexpr = values.shape[1]
    if size <= ANY_ORDER:
        return tl.sum(values, axis=1)
    else:
        chunks = tl.reshape(values, (values.shape[0], size // ANY_ORDER, ANY_ORDER))
        return ordered_sum(tl.sum(chunks, axis=2))


@triton.jit
def searched(
    wide,
    extreme,
    importance,
    weighing,
    LARGEST_CODE: tl.constexpr,
    STEP: tl.constexpr,  # of a Gaussian's deviation, in float32
    SQUARES: tl.constexpr,
    PRODUCTS: tl.constexpr,
):
    """`quantizer.scale_search.searched_scales` before it is stored: float32 `[groups]`."""
    step = extreme * (-1.0 / (LARGEST_CODE + 1))  # exact: a power of two
    rough = to_grid(wide, extreme, SQUARES)
    deviation = tl.sqrt_rn(exact_sum(rough * rough))
    ratio = tl.minimum(tl.div_rn(deviation * STEP, tl.abs(step)), 1.0)
    weighted = wide * importance
    weighted = to_grid(weighted, tl.max(tl.abs(weighted), axis=1), PRODUCTS)
    found = step
    best = tl.full(step.shape, -1.0, tl.float32)
    for place in tl.static_range(TRIED):
        if EXPONENTS[place] == 0.0:
            power = tl.full(ratio.shape, 1.0, tl.float32)
        elif EXPONENTS[place] == 1.0:
            power = ratio
        else:
            power = tl.exp2(tl.log2(ratio.to(tl.float64)) * EXPONENTS[place]).to(tl.float32)
        inverse = tl.div_rn(tl.full(ratio.shape, 1.0, tl.float32), (power * step) * FACTORS[place])
        code = rounded(wide * inverse[:, None])
        code = tl.minimum(tl.maximum(code, -LARGEST_CODE - 1.0), LARGEST_CODE + 0.0)
        squares = code * code
        plain = tl.sqrt_rn(tl.sum(squares, axis=1))  # of whole numbers: exact in any order
        length = tl.where(weighing, ordered_sum(squares * importance), plain * plain)
        agreement = exact_sum(code * weighted)
        fitted = tl.div_rn(agreement, length)
        gain = agreement * fitted
        better = gain > best  # of equal ones the first
        best = tl.where(better, gain, best)
        found = tl.where(better, fitted, found)
    return found


@triton.jit
def stored_scale(
    wide,
    importance,
    weighing,
    dtype: tl.constexpr,
    METHOD: tl.constexpr,
    LARGEST_CODE: tl.constexpr,
    TINY: tl.constexpr,
    HUGE: tl.constexpr,
    STEP: tl.constexpr,
    SQUARES: tl.constexpr,
    PRODUCTS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    """Scales in `dtype` `[groups]`, and where they can't be made here."""
    # As whole numbers: a maximum of floats would pass over a NaN.
    bits = tl.max(wide.to(tl.int32, bitcast=True) & MAGNITUDE, axis=1)
    absmax = bits.to(tl.float32, bitcast=True)
    code = tl.full(absmax.shape, LARGEST_CODE, tl.float32)
    plain = round_to(tl.div_rn(absmax, code), dtype, INTERPRET)
    like = (absmax == 0.0) | ((absmax >= TOO_SMALL) & (absmax <= TOO_LARGE))
    unlike = like == 0  # of a NaN too
    unlike = unlike | (plain.to(tl.float32) > HUGE)
    if dtype == tl.float16:  # a bfloat16 scale of such weights is never subnormal
        clipped = absmax > plain.to(tl.float32) * (LARGEST_CODE + 0.5)
        larger = (plain.to(tl.int16, bitcast=True) + 1).to(tl.int16).to(dtype, bitcast=True)
        plain = tl.where(clipped, larger, plain)
    wanted = plain.to(tl.float32)
    if METHOD != "absmax":
        extreme = tl.where(tl.max(wide, axis=1) == absmax, absmax, -absmax)
        if METHOD == "signed":
            found = extreme * (-1.0 / (LARGEST_CODE + 1))
        else:
            found = searched(wide, extreme, importance, weighing, LARGEST_CODE, STEP, SQUARES, PRODUCTS)
        found = round_to(found, dtype, INTERPRET).to(tl.float32)
        well = (tl.abs(found) >= TINY) & (tl.abs(found) <= HUGE)
        wanted = tl.where(well, found, wanted)
    return tl.where(absmax == 0.0, 1.0, wanted), unlike


@triton.jit(do_not_specialize=["total", "groups_a_row", "scaled", "multiplied", "weighing"])
def block_kernel(
    rows_ptr,
    factors_ptr,  # float32 [K]
    multipliers_ptr,  # float32 [n]
    importance_ptr,  # float32 [K]
    packed_ptr,
    scales_ptr,
    sums_ptr,  # float64 [3, programs]: Σ (w-ŵ)², Σ w², groups that are unlike weights
    total,  # groups
    groups_a_row,
    scaled,  # 0: the factors are 1
    multiplied,  # 0: the multipliers are 1
    weighing,  # 0: the importance is 1
    GROUP: tl.constexpr,
    BITS: tl.constexpr,
    METHOD: tl.constexpr,
    PACK: tl.constexpr,
    LARGEST_CODE: tl.constexpr,
    TINY: tl.constexpr,
    HUGE: tl.constexpr,
    STEP: tl.constexpr,
    SQUARES: tl.constexpr,
    PRODUCTS: tl.constexpr,
    WEIGHTS: tl.constexpr,
    INTERPRET: tl.constexpr,
):
    dtype: tl.constexpr = scales_ptr.dtype.element_ty
    COUNT: tl.constexpr = WEIGHTS // GROUP
    program = tl.program_id(0)
    group = program * COUNT + tl.arange(0, COUNT)
    inside = group < total
    place = tl.arange(0, GROUP)[None, :]
    at = group.to(tl.int64)[:, None] * GROUP + place
    wide = tl.load(rows_ptr + at, mask=inside[:, None], other=0.0).to(tl.float32)
    column = (group % groups_a_row)[:, None] * GROUP + place
    if scaled != 0:
        wide = wide * tl.load(factors_ptr + column, mask=inside[:, None], other=1.0)
    if multiplied != 0:
        multiplier = tl.load(multipliers_ptr + group // groups_a_row, mask=inside, other=1.0)
        wide = wide * multiplier[:, None]
    importance = tl.full(wide.shape, 1.0, tl.float32)
    if METHOD == "search":
        if weighing != 0:
            importance = tl.load(importance_ptr + column, mask=inside[:, None], other=1.0)
    scale, unlike = stored_scale(
        wide, importance, weighing != 0, dtype, METHOD, LARGEST_CODE, TINY, HUGE, STEP, SQUARES, PRODUCTS,
        INTERPRET,
    )  # fmt: skip
    tl.store(scales_ptr + group, scale.to(dtype), mask=inside)
    programs = tl.num_programs(0)
    tl.store(sums_ptr + 2 * programs + program, tl.sum(unlike.to(tl.int32), axis=0).to(tl.float64))
    if PACK:
        steps = tl.div_rn(wide, scale[:, None] + tl.zeros_like(wide))
        code = tl.minimum(tl.maximum(rounded(steps), -LARGEST_CODE - 1.0), LARGEST_CODE + 0.0)
        apart = steps - code
        length = scale.to(tl.float64)
        error = tl.sum(apart * apart, axis=1).to(tl.float64) * length * length
        tl.store(sums_ptr + program, tl.sum(error, axis=0))
        norm = tl.sum(wide * wide, axis=1).to(tl.float64)
        tl.store(sums_ptr + programs + program, tl.sum(norm, axis=0))
        held = code.to(tl.int32) + (LARGEST_CODE + 1)
        if BITS == 3:  # 8 codes are a run of 24 bits, 4 runs fill 3 words
            runs = tl.reshape(held, (WEIGHTS // 8, 8)) << (3 * tl.arange(0, 8))[None, :]
            runs = tl.reshape(tl.sum(runs, axis=1), (WEIGHTS // 32, 4))
            run = tl.arange(0, 4)[None, :]
            block = program.to(tl.int64) * (WEIGHTS // 32) + tl.arange(0, WEIGHTS // 32)
            whole = block * 32 < total.to(tl.int64) * GROUP
            for word in tl.static_range(3):  # run i begins at bit 24 i
                first = tl.where(run == word, runs >> (8 * word), 0)
                second = tl.where(run == word + 1, runs << (24 - 8 * word), 0)
                tl.store(packed_ptr + block * 3 + word, tl.sum(first | second, axis=1), mask=whole)
        else:
            EACH: tl.constexpr = 32 // BITS
            words = tl.reshape(held, (WEIGHTS // EACH, EACH)) << (BITS * tl.arange(0, EACH))[None, :]
            block = program.to(tl.int64) * (WEIGHTS // EACH) + tl.arange(0, WEIGHTS // EACH)
            whole = block * EACH < total.to(tl.int64) * GROUP
            tl.store(packed_ptr + block, tl.sum(words, axis=1), mask=whole)


@cache
def block_launch(bits: int, group_size: int, method: str, scale_dtype: torch.dtype, *, pack: bool) -> Launch:
    """The launch for groups of one size; without `pack` it finds scales and nothing else."""
    constants = block_constants(bits, group_size, method, scale_dtype) | {"BITS": bits, "PACK": pack}
    # A product fused with a sum would be rounded once where the CPU rounds twice.
    return Launch(block_kernel, constants, {"num_warps": WARPS, "num_stages": 1, "enable_fp_fusion": False})


def block_constants(
    bits: int, group_size: int, method: str, scale_dtype: torch.dtype
) -> dict[str, int | float | str]:
    """What a kernel is compiled with that finds and uses the scales of such groups."""
    number = torch.finfo(scale_dtype)
    if bits not in GAUSSIAN_STEP and method == "search":
        method = "signed"  # there is nothing to search
    return {
        "GROUP": group_size, "METHOD": method, "LARGEST_CODE": largest_code(bits),
        "TINY": number.tiny, "HUGE": number.max,
        "STEP": in_float32(GAUSSIAN_STEP.get(bits, 0.0) / group_size**0.5),
        "SQUARES": 2 * ROUNDER / 2**BITS_SQUARED, "PRODUCTS": 2 * ROUNDER / 2**BITS_TIMES_CODE,
        "WEIGHTS": WEIGHTS, "INTERPRET": triton.knobs.runtime.interpret,
    }  # fmt: skip


@cache
def no_vector(device: torch.device) -> Tensor:
    """What a kernel is given in the place of a vector that it will not read."""
    return torch.empty(1, dtype=torch.float32, device=device)


def in_float32(value: float) -> float:
    """The float32 nearest to a number, as torch takes it in a product with float32."""
    nearest: float = struct.unpack("f", struct.pack("f", value))[0]
    return nearest


def block_on_gpu(
    rows: Tensor,
    bits: int,
    group_size: int,
    method: str,
    scale_dtype: torch.dtype,
    *,
    factors: Tensor | None = None,
    multipliers: Tensor | None = None,
    importance: Tensor | None = None,
) -> tuple[Tensor, Tensor, float, float] | None:
    """Words int32 `[n, K · bits / 32]`, scales `[n, K / g]`, Σ (w-ŵ)² and Σ w² of rows `[n, K]`.

    The rows are bfloat16, float16 or float32, at least one, and 32 and g divide K; their columns are
    multiplied by `factors`, float32 `[K]`, and they themselves by `multipliers`, float32 `[n]`. None where a
    group is not like weights. Waits for the GPU.
    """
    packed = rows.new_empty((len(rows), words_per_row(rows.shape[1], bits)), dtype=torch.int32)
    launch = block_launch(bits, group_size, method, scale_dtype, pack=True)
    scales, sums = _run(launch, rows, group_size, scale_dtype, packed, (factors, multipliers, importance))
    error, norm, unlike = sums.sum(dim=1).tolist()
    return None if unlike else (packed, scales, error, norm)


def scales_on_gpu(
    rows: Tensor,
    bits: int,
    group_size: int,
    method: str,
    scale_dtype: torch.dtype,
    *,
    importance: Tensor | None = None,
) -> Tensor | None:
    """The scales alone that `block_on_gpu` finds for such rows."""
    launch = block_launch(bits, group_size, method, scale_dtype, pack=False)
    scales, sums = _run(launch, rows, group_size, scale_dtype, None, (None, None, importance))
    return None if sums[2].sum().item() else scales


def _run(
    launch: Launch,
    rows: Tensor,
    group_size: int,
    scale_dtype: torch.dtype,
    packed: Tensor | None,
    vectors: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor]:
    """Scales and the programs' sums, float64 `[3, programs]`; words go to `packed`."""
    n, k = rows.shape
    rows = rows.contiguous()
    groups = k // group_size
    programs = -(-n * k // WEIGHTS)
    scales = rows.new_empty((n, groups), dtype=scale_dtype)
    sums = rows.new_empty((3, programs), dtype=torch.float64)
    nothing = no_vector(rows.device)
    given = [nothing if vector is None else vector for vector in vectors]
    tensors = (rows, *given, scales if packed is None else packed, scales, sums)
    flags = [int(vector is not None) for vector in vectors]
    launch_compiled(launch, (programs, 1, 1), tensors, n * groups, groups, *flags)
    return scales, sums


def launch_compiled(
    launch: Launch, grid: tuple[int, int, int], tensors: tuple[Tensor, ...], *numbers: float
) -> None:
    """Launch on the GPU of the tensors. Called by several threads, of which one at a time compiles."""
    kind = kinds(*tensors)
    with on(tensors[0]), nullcontext() if kind in launch.compiled else COMPILING:
        launch(grid, kind, *tensors, *numbers)
