# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917, RET505, RUF005 — Triton compiles one branch of an `if` and takes many
# arguments
"""Device functions: loads, the matrix unit and one step of the walk, on fragments that stay in registers.

Everything is a 1-D tensor of 32 * WARPS elements, so each thread holds one element of each: a "value" below
is one 32-bit register of every thread. That is the form in which the matrix unit (`mma.sync.m16n8k16`) takes
its operands, so what a thread loads is multiplied by the same thread. lane = 4 g + t, g 0…7, t 0…3:

    weights A [16, 16]    4 values of two 16-bit floats   2 r + h: row 8 r + g, columns 8 h + 2 t + {0, 1}
    x       B [16, 8]     2 values of two                 h: columns (k) 8 h + 2 t + {0, 1} of row g of x
    sums    C [16, 8]     4 float32 values                2 r + e: row 8 r + g, row 2 t + e of x

A step is 16 rows of weights times 256 columns (128 for 8 bits) for one warp: 16 (8) such A, the *planes* of
`kernels.lane_layout`. Which k a plane's column stands for does not matter as long as weights and x agree;
the lane order picks them so that a lane reads x 16 bytes at a time (8 with groups that 32 does not divide):

    plane pair q of lane 4 g + t:   x[g, 32 q + 8 t : 32 q + 8 t + 8]   = B of plane 2 q, B of plane 2 q + 1

The scale of a group is applied in float32 to the group's partial sum.
"""

import triton
import triton.language as tl

from kernels.unpack import pair_of


@triton.constexpr_function
def load_text(count, zero, hint, weights):
    """PTX that loads `count` words from the address after the outputs, where the flag after it is not 0.

    Elsewhere the outputs are 0 with `zero`, else anything. `weights` are read once and past L1; `hint` names
    the cache policy in the last operand.
    """
    kind = ".nc.L1::no_allocate" if weights else ""
    kind += ".L2::cache_hint" if hint else ""
    vector = f".v{count}" if count > 1 else ""
    names = [f"r{i}" for i in range(count)]
    target = "{" + ", ".join(names) + "}" if count > 1 else "r0"
    policy = f", ${count + 2}" if hint else ""
    lines = [".reg .pred p;", f".reg .b32 {', '.join(names)};", f"setp.ne.b32 p, ${count + 1}, 0;"]
    lines += [f"mov.b32 {name}, 0;" for name in names] if zero else []
    lines += [f"@p ld.global{kind}{vector}.b32 {target}, [${count}]{policy};"]
    lines += [f"mov.b32 ${i}, {name};" for i, name in enumerate(names)]
    return "{ " + " ".join(lines) + " }"


@triton.constexpr_function
def load_constraints(count, hint):
    return ",".join(["=r"] * count + ["l", "r"] + (["l"] if hint else []))


@triton.jit
def load_words(
    pointer, ok, policy, COUNT: tl.constexpr, ZERO: tl.constexpr, HINT: tl.constexpr, INTERPRET: tl.constexpr
):
    """COUNT (1, 2 or 4) int32 words of weights or scales from `pointer` on, as a tuple."""
    if INTERPRET:
        words = ()
        for i in tl.static_range(COUNT):
            words = words + (tl.load(pointer + i, mask=ok != 0, other=0),)
        return words
    else:
        text: tl.constexpr = load_text(COUNT, ZERO, HINT, True)
        constraints: tl.constexpr = load_constraints(COUNT, HINT)
        args = (pointer, ok, policy) if HINT else (pointer, ok)
        if COUNT == 1:
            word = tl.inline_asm_elementwise(text, constraints, args, tl.int32, is_pure=True, pack=1)
            return (word,)
        elif COUNT == 2:
            two: tl.constexpr = (tl.int32, tl.int32)
            return tl.inline_asm_elementwise(text, constraints, args, two, is_pure=True, pack=1)
        else:
            four: tl.constexpr = (tl.int32, tl.int32, tl.int32, tl.int32)
            return tl.inline_asm_elementwise(text, constraints, args, four, is_pure=True, pack=1)


@triton.jit
def evict_first(lane, HINT: tl.constexpr):
    """The cache policy of memory that is read once: the first that L2 may drop. 0 where it is not used."""
    if HINT:
        return tl.inline_asm_elementwise(
            "createpolicy.fractional.L2::evict_first.b64 $0, 1.0;",
            "=l,r",
            args=[lane],
            dtype=tl.int64,
            is_pure=True,
            pack=1,
        )
    else:
        return lane.to(tl.int64) * 0


@triton.jit
def load_x(pointer, PAIR: tl.constexpr, INTERPRET: tl.constexpr):
    """The B values of PAIR planes: 2 PAIR words from `pointer` on."""
    if INTERPRET:
        words = ()
        for i in tl.static_range(2 * PAIR):
            words = words + (tl.load(pointer + i),)
        return words
    elif PAIR == 2:
        return tl.inline_asm_elementwise(
            "ld.global.v4.b32 {$0, $1, $2, $3}, [$4];",
            "=r,=r,=r,=r,l",
            args=[pointer],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )
    else:
        return tl.inline_asm_elementwise(
            "ld.global.v2.b32 {$0, $1}, [$2];",
            "=r,=r,l",
            args=[pointer],
            dtype=(tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )


@triton.jit
def launch_next(lane, PDL: tl.constexpr):
    """Let the next kernel of the stream start; it waits by itself for this one's results."""
    if PDL:
        tl.inline_asm_elementwise(
            "griddepcontrol.launch_dependents; mov.b32 $0, 0;",
            "=r,r",
            args=[lane],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def wait_for_previous(lane, PDL: tl.constexpr):
    """0, once the kernels before this one are through: what is added to an address makes its load wait."""
    if PDL:
        return tl.inline_asm_elementwise(
            "griddepcontrol.wait; mov.b32 $0, 0;",
            "=r,r",
            args=[lane],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
    else:
        return lane * 0


@triton.jit
def after_previous(WARPS: tl.constexpr, PDL: tl.constexpr):
    """One number for a whole program: 0, once the kernels before this one are through. The next may start."""
    thread = tl.arange(0, 32 * WARPS)
    launch_next(thread, PDL)
    return tl.max(wait_for_previous(thread, PDL), 0)


@triton.jit
def halves_of(word, dtype: tl.constexpr):
    """Two 16-bit floats in a register → two float32 values."""
    if dtype == tl.bfloat16:
        return (word << 16).to(tl.float32, bitcast=True), (word & -65536).to(tl.float32, bitcast=True)
    else:
        low = (word & 0xFFFF).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
        return low, (word >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def round_to(value, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """float32 → `dtype`, to nearest even. The interpreter truncates to bfloat16: round its bits before."""
    if INTERPRET and dtype == tl.bfloat16:
        bits = value.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        value = bits.to(tl.float32, bitcast=True)
    return value.to(dtype)


@triton.jit
def normalize(word, weight, factor, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """round(round(x * factor) * weight) of two 16-bit x in `word`: RMS norm as transformers rounds it."""
    if INTERPRET:
        low, high = halves_of(word, dtype)
        low_weight, high_weight = halves_of(weight, dtype)
        low = round_to(low * factor, dtype, True).to(tl.float32) * low_weight
        high = round_to(high * factor, dtype, True).to(tl.float32) * high_weight
        low = round_to(low, dtype, True).to(tl.float32)
        return pair_of(low, round_to(high, dtype, True).to(tl.float32), dtype)
    elif dtype == tl.float16:
        return tl.inline_asm_elementwise(
            """{
            .reg .b16 a, b;
            .reg .f32 p, q;
            .reg .b32 r;
            mov.b32 {a, b}, $1;
            cvt.f32.f16 p, a;
            cvt.f32.f16 q, b;
            mul.f32 p, p, $3;
            mul.f32 q, q, $3;
            cvt.rn.f16x2.f32 r, q, p;
            mul.rn.f16x2 $0, r, $2;
            }""",
            "=r,r,r,f",
            args=[word, weight, factor],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
    else:
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 r, s;
            .reg .f32 p, q;
            shl.b32 r, $1, 16;
            and.b32 s, $1, 0xffff0000;
            mov.b32 p, r;
            mov.b32 q, s;
            mul.f32 p, p, $3;
            mul.f32 q, q, $3;
            cvt.rn.bf16x2.f32 r, q, p;
            mov.b32 s, 0x80008000;
            fma.rn.bf16x2 $0, r, $2, s;
            }""",
            "=r,r,r,f",
            args=[word, weight, factor],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )


@triton.jit
def multiply_pairs(x, y, INTERPRET: tl.constexpr):
    """round(x * y) of the two bfloat16 numbers in either."""
    if INTERPRET:
        low, high = halves_of(x, tl.bfloat16)
        low_factor, high_factor = halves_of(y, tl.bfloat16)
        low = round_to(low * low_factor, tl.bfloat16, True).to(tl.float32)
        return pair_of(low, round_to(high * high_factor, tl.bfloat16, True).to(tl.float32), tl.bfloat16)
    else:
        return tl.inline_asm_elementwise(
            "{ .reg .b32 zero; mov.b32 zero, 0x80008000; fma.rn.bf16x2 $0, $1, $2, zero; }",
            "=r,r,r",
            args=[x, y],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )


@triton.jit
def fragment_matrix(words, COUNT: tl.constexpr, dtype: tl.constexpr, WARPS: tl.constexpr):
    """A (4 values) as [WARPS, 16, 16] or B (2 values) as [WARPS, 8 (n), 16 (k)], float32."""
    both = tl.join(words[0], words[1])  # [.., h]
    if COUNT == 4:
        both = tl.join(both, tl.join(words[2], words[3]))  # [.., h, r]
    low, high = halves_of(both, dtype)
    whole = tl.reshape(tl.join(low, high), (WARPS, 8, 4, 2, COUNT // 2, 2))  # g, t, h, r, e
    return tl.reshape(tl.permute(whole, (0, 4, 1, 3, 2, 5)), (WARPS, 4 * COUNT, 16))


@triton.jit
def multiply_fragments(a, x0, x1, c, dtype: tl.constexpr, WARPS: tl.constexpr, INTERPRET: tl.constexpr):
    """c + a · x: `a` the values of slots 0 … 3, `x0` and `x1` those of h = 0 and 1, `c` four sums."""
    if INTERPRET:
        left = fragment_matrix(a, 4, dtype, WARPS)
        right = fragment_matrix((x0, x1), 2, dtype, WARPS)
        product = tl.sum(left[:, :, None, :] * right[:, None, :, :], 3)  # [WARPS, 16, 8]
        whole = tl.reshape(product, (WARPS, 2, 8, 4, 2))  # r, g, t, e
        whole = tl.reshape(tl.permute(whole, (0, 2, 3, 4, 1)), (WARPS * 32, 2, 2))  # e, r
        first, second = tl.split(whole)
        c0, c1 = tl.split(first)
        c2, c3 = tl.split(second)
        return c[0] + c0, c[1] + c1, c[2] + c2, c[3] + c3
    elif dtype == tl.float16:
        return tl.inline_asm_elementwise(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, "
            "{$10, $11, $12, $13};",
            "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
            args=[a[0], a[2], a[1], a[3], x0, x1, c[0], c[1], c[2], c[3]],
            dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
            is_pure=True,
            pack=1,
        )
    else:
        return tl.inline_asm_elementwise(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$0, $1, $2, $3}, {$4, $5, $6, $7}, "
            "{$8, $9}, {$10, $11, $12, $13};",
            "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
            args=[a[0], a[2], a[1], a[3], x0, x1, c[0], c[1], c[2], c[3]],
            dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
            is_pure=True,
            pack=1,
        )


@triton.jit
def zero_sums(COUNT: tl.constexpr, WARPS: tl.constexpr):
    """COUNT empty C, each four values."""
    sums = ()
    for _ in tl.static_range(COUNT):
        zero = tl.zeros((32 * WARPS,), tl.float32)
        sums = sums + ((zero, zero, zero, zero),)
    return sums
