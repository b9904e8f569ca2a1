# mypy: allow-untyped-defs, allow-incomplete-defs
# ruff: noqa: PLR0912, PLR0917, RET505, SIM108 — Triton compiles one branch of an `if` and takes many
# arguments
"""Device functions: the walk along K that every fused kernel shares.

One program owns BN rows of the weights and BM rows of the activations and computes

    acc[n, m] = Σ_k code[n, k] * scale[n, k // GROUP] * x[m, k]        [BN, BM] in float32

with the weights as the left operand of the matrix unit. A step of the walk takes COLUMNS units of each weight
row (`kernels.unpack` says what a unit is) and the matching STEP = CODES * COLUMNS activations:

    bits  unit                 CODES a column  planes  k of plane i, column c of a step
     8    int16                      2            2     2 c + i
     4    int16                      4            4     4 c + i
     3    3 words (a triple)        32         4 x 8    32 c + 8 q + i      quarter q of the triple

    one weight row, 4 bits:  | k0 k1 k2 k3 | k4 k5 k6 k7 | k8 …        units, as stored
                               column 0      column 1
    plane 0 = k0 k4 k8 …     plane 1 = k1 k5 k9 …     one `tl.dot` each, with x taken apart in the same way

The activations are read as they lie, 16 bytes at a time, and taken apart by `tl.split`.

The scale enters where it costs least:
    GROUP 0 (channel)         after the walk, in float32
    GROUP a multiple of STEP  on the step's partial sum, in float32
    GROUP a part of STEP      on the dequantized weights, in the activations' dtype, as dequantize + matmul
"""

import triton
import triton.language as tl

from kernels.unpack import planes_of_3_bits, planes_of_4_bits, planes_of_8_bits, quarter_of_triple


@triton.jit
def split_in_2(x, BM: tl.constexpr, COLUMNS: tl.constexpr):
    """x [BM, 2 COLUMNS] → 2 planes [COLUMNS, BM]."""
    x0, x1 = tl.split(tl.reshape(x, (BM, COLUMNS, 2)))
    return tl.trans(x0), tl.trans(x1)


@triton.jit
def split_in_4(x, BM: tl.constexpr, COLUMNS: tl.constexpr):
    """x [BM, 4 COLUMNS] → 4 planes [COLUMNS, BM]."""
    even, odd = tl.split(tl.reshape(x, (BM, COLUMNS, 2, 2)))
    x0, x2 = tl.split(even)
    x1, x3 = tl.split(odd)
    return tl.trans(x0), tl.trans(x1), tl.trans(x2), tl.trans(x3)


@triton.jit
def split_in_8(x, BM: tl.constexpr, COLUMNS: tl.constexpr):
    """x [BM, 8 COLUMNS] → 8 planes [COLUMNS, BM]."""
    even, odd = tl.split(tl.reshape(x, (BM, COLUMNS, 2, 2, 2)))
    x04, x26 = tl.split(even)
    x15, x37 = tl.split(odd)
    x0, x4 = tl.split(x04)
    x2, x6 = tl.split(x26)
    x1, x5 = tl.split(x15)
    x3, x7 = tl.split(x37)
    first = tl.trans(x0), tl.trans(x1), tl.trans(x2), tl.trans(x3)
    return first[0], first[1], first[2], first[3], tl.trans(x4), tl.trans(x5), tl.trans(x6), tl.trans(x7)


@triton.jit
def load_planes(
    x_rows,
    x_ok,
    first_k,
    K,
    CODES: tl.constexpr,
    COUNT: tl.constexpr,
    BM: tl.constexpr,
    COLUMNS: tl.constexpr,
    EVEN_K: tl.constexpr,
):
    """x[m, first_k + CODES * c + i] for the COUNT codes i of each column c, as COUNT planes [COLUMNS, BM]."""
    place = tl.arange(0, COUNT * COLUMNS)
    if CODES == COUNT:
        k = first_k + place
    else:
        k = first_k + place // COUNT * CODES + place % COUNT
    inside = x_ok[:, None] if EVEN_K else x_ok[:, None] & (k < K)[None, :]
    x = tl.load(x_rows[:, None] + k[None, :], mask=inside, other=0.0)
    if COUNT == 2:
        return split_in_2(x, BM, COLUMNS)
    elif COUNT == 4:
        return split_in_4(x, BM, COLUMNS)
    else:
        return split_in_8(x, BM, COLUMNS)


@triton.jit
def load_codes(code_rows, n_ok, place, row_length, EVEN_K: tl.constexpr):
    """codes[n, place], [BN, COLUMNS]; each is read once, so it is the first that the cache may drop."""
    inside = n_ok[:, None] if EVEN_K else n_ok[:, None] & (place < row_length)[None, :]
    return tl.load(code_rows[:, None] + place[None, :], mask=inside, other=0, eviction_policy="evict_first")


@triton.jit
def load_scales(
    scale_rows, n_ok, stride_group, first_k, K, GROUP: tl.constexpr, STEP: tl.constexpr, EVEN_K: tl.constexpr
):
    """The scales of the STEP // GROUP groups of one step, [BN, STEP // GROUP]."""
    group = first_k // GROUP + tl.arange(0, STEP // GROUP)
    inside = n_ok[:, None] if EVEN_K else n_ok[:, None] & (group * GROUP < K)[None, :]
    return tl.load(scale_rows[:, None] + group[None, :] * stride_group, mask=inside, other=0.0)


@triton.jit
def spread_scales(scales, CODES: tl.constexpr, GROUP: tl.constexpr, BN: tl.constexpr, COLUMNS: tl.constexpr):
    """Scales [BN, groups of the step] → [BN, COLUMNS]: each repeated over the columns of its group."""
    COUNT: tl.constexpr = CODES * COLUMNS // GROUP
    repeated = tl.broadcast_to(scales[:, :, None], (BN, COUNT, COLUMNS // COUNT))
    return tl.reshape(repeated, (BN, COLUMNS))


@triton.jit
def multiply_add(
    planes, x_planes, scale, acc, COUNT: tl.constexpr, SCALED: tl.constexpr, INTERPRET: tl.constexpr
):
    """acc + Σ_i (planes[i] * scale) · x_planes[i], in float32."""
    for i in tl.static_range(COUNT):
        w = planes[i]
        x = x_planes[i]
        if INTERPRET:
            x = x.to(tl.float32)
        if SCALED:
            w = w * scale
        acc = tl.dot(w, x, acc)
    return acc


@triton.jit
def accumulate(
    x_rows,  # pointers [BM] to x[m, 0]
    x_ok,  # [BM]: this row exists
    code_rows,  # pointers [BN] to codes[n, 0]: int16 units (8 and 4 bits) or int32 words (3 bits)
    scale_rows,  # pointers [BN] to scales[n, 0]
    n_ok,  # [BN]: this weight row exists
    stride_group,  # elements from one group's scale to the next one's
    K,
    row_length,  # units, or words, of one weight row
    first_step,
    last_step,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    COLUMNS: tl.constexpr,
    EVEN_K: tl.constexpr,  # K is a multiple of STEP
    INTERPRET: tl.constexpr,
):
    """acc [BN, BM] over the steps from `first_step` to before `last_step`."""
    CODES: tl.constexpr = 32 if BITS == 3 else 16 // BITS
    COUNT: tl.constexpr = 8 if BITS == 3 else CODES
    STEP: tl.constexpr = CODES * COLUMNS
    ON_SUM: tl.constexpr = GROUP > 0 and GROUP % STEP == 0
    ON_WEIGHTS: tl.constexpr = GROUP > 0 and GROUP < STEP
    dtype: tl.constexpr = x_rows.dtype.element_ty
    wide: tl.constexpr = tl.float32 if INTERPRET else dtype

    acc = tl.zeros((BN, BM), tl.float32)
    for step in range(first_step, last_step):
        first_k = step * STEP
        column = step * COLUMNS + tl.arange(0, COLUMNS)
        scale = tl.full((1, 1), 1, wide)
        upper_scale = scale  # of codes 16 … 31 of a triple, where a group is half a triple
        if ON_WEIGHTS:
            scales = load_scales(scale_rows, n_ok, stride_group, first_k, K, GROUP, STEP, EVEN_K).to(wide)
            if GROUP < CODES:
                scale, upper_scale = tl.split(tl.reshape(scales, (BN, COLUMNS, 2)))
            else:
                scale = spread_scales(scales, CODES, GROUP, BN, COLUMNS)
                upper_scale = scale
        total = tl.zeros((BN, BM), tl.float32) if ON_SUM else acc
        if BITS == 3:
            word0 = load_codes(code_rows, n_ok, 3 * column, row_length, EVEN_K).to(tl.uint32, bitcast=True)
            word1 = load_codes(code_rows, n_ok, 3 * column + 1, row_length, EVEN_K).to(
                tl.uint32, bitcast=True
            )
            word2 = load_codes(code_rows, n_ok, 3 * column + 2, row_length, EVEN_K).to(
                tl.uint32, bitcast=True
            )
            for quarter in tl.static_range(4):
                planes = planes_of_3_bits(quarter_of_triple(word0, word1, word2, quarter), dtype, INTERPRET)
                k = first_k + 8 * quarter
                x_planes = load_planes(x_rows, x_ok, k, K, CODES, COUNT, BM, COLUMNS, EVEN_K)
                if quarter < 2:
                    total = multiply_add(planes, x_planes, scale, total, COUNT, ON_WEIGHTS, INTERPRET)
                else:
                    total = multiply_add(planes, x_planes, upper_scale, total, COUNT, ON_WEIGHTS, INTERPRET)
        else:
            unit = load_codes(code_rows, n_ok, column, row_length, EVEN_K)
            if BITS == 4:
                planes = planes_of_4_bits(unit, dtype, INTERPRET)
            else:
                planes = planes_of_8_bits(unit, dtype, INTERPRET)
            x_planes = load_planes(x_rows, x_ok, first_k, K, CODES, COUNT, BM, COLUMNS, EVEN_K)
            total = multiply_add(planes, x_planes, scale, total, COUNT, ON_WEIGHTS, INTERPRET)
        if ON_SUM:
            of_sum = tl.load(scale_rows + first_k // GROUP * stride_group, mask=n_ok, other=0.0)
            acc += total * of_sum.to(tl.float32)[:, None]
        else:
            acc = total
    if GROUP == 0:
        acc = acc * tl.load(scale_rows, mask=n_ok, other=0.0).to(tl.float32)[:, None]
    return acc


@triton.jit
def round_to(value, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """float32 → `dtype`, to nearest even. The interpreter truncates to bfloat16: round its bits before."""
    if INTERPRET and dtype == tl.bfloat16:
        bits = value.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        value = bits.to(tl.float32, bitcast=True)
    return value.to(dtype)
