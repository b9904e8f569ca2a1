# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment"
# ruff: noqa: RET505, RUF005 — Triton compiles one branch of an `if`
"""Device functions: one packed word in a register → signed codes in the activations' dtype, exactly.

A word of the lane order (`kernels.lane_layout`) has two 16-bit fields, so everything is done to both at once
and gives *pairs*: int32 registers that hold two 16-bit floats, as the matrix unit takes them.

    8 bits   field │ i=1      │ i=0      │                  2 pairs a word
    4 bits   field │ 3  │ 2  │ 1  │ 0  │                    4 pairs a word
    3 bits   field │x│ 4 │ 3 │ 2 │ 1 │ 0 │                  5 pairs a word; the x of three words are one more

No conversion instruction is used: a code is placed into the mantissa of a power of two and the power is
subtracted.

    float16  0x6400 | v = 1024 + v   for v < 1024; a code at bit s of the mantissa reads as 1024 + v * 2^s
    bfloat16 0x4300 | v =  128 + v   for v <  128

`lop3 … 0xea` is (a & b) | c, `0x6a` is (a & b) ^ c. In Triton's interpreter, which knows no PTX, INTERPRET
takes shifts instead.
"""

import triton
import triton.language as tl


@triton.jit
def pair_of(low, high, dtype: tl.constexpr):
    """Two float32 numbers that `dtype` holds exactly → one register with both. For the interpreter."""
    if dtype == tl.bfloat16:
        low_bits = (low.to(tl.int32, bitcast=True) >> 16) & 0xFFFF
        return low_bits | (high.to(tl.int32, bitcast=True) & -65536)
    else:
        low_bits = low.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
        return low_bits | (high.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32) << 16)


@triton.jit
def field_pairs(word, dtype: tl.constexpr, BITS: tl.constexpr):
    """The codes of both fields, by shifts, as a tuple of pairs. For the interpreter."""
    half: tl.constexpr = 1 << (BITS - 1)
    pairs = ()
    for place in tl.static_range(16 // BITS):
        low = (((word >> (BITS * place)) & (2 * half - 1)) - half).to(tl.float32)
        high = (((word >> (16 + BITS * place)) & (2 * half - 1)) - half).to(tl.float32)
        pairs = pairs + (pair_of(low, high, dtype),)
    return pairs


@triton.jit
def unpack_8(word, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """A word of 8-bit codes → 2 pairs. Stored v is code v - 128."""
    if INTERPRET:
        return field_pairs(word, dtype, 8)
    elif dtype == tl.float16:
        # prmt puts each byte under the byte 0x64: 1024 + v; minus 1152 (0x6480).
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 c, p, q;
            mov.b32 c, 0x64646464;
            prmt.b32 p, $2, c, 0x4240;
            prmt.b32 q, $2, c, 0x4341;
            mov.b32 c, 0x64806480;
            sub.f16x2 $0, p, c;
            sub.f16x2 $1, q, c;
            }""",
            "=&r,=&r,r",
            args=[word],
            dtype=(tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )
    else:
        # 7 low bits: 128 + low (0x4300). Top bit clear: subtract 256 (0xc380), set: subtract 128 (0xc300);
        # the two constants differ in bit 7, which is where the top bit of the code stands.
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 t, m, n, one, p, q;
            mov.b32 one, 0x3f803f80;
            shr.u32 t, $2, 8;
            lop3.b32 p, $2, 0x007f007f, 0x43004300, 0xea;
            lop3.b32 m, $2, 0x00800080, 0xc380c380, 0x6a;
            fma.rn.bf16x2 $0, p, one, m;
            lop3.b32 q, t, 0x007f007f, 0x43004300, 0xea;
            lop3.b32 n, t, 0x00800080, 0xc380c380, 0x6a;
            fma.rn.bf16x2 $1, q, one, n;
            }""",
            "=&r,=&r,r",
            args=[word],
            dtype=(tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )


@triton.jit
def unpack_4(word, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """A word of 4-bit codes → 4 pairs. Stored v is code v - 8."""
    if INTERPRET:
        return field_pairs(word, dtype, 4)
    elif dtype == tl.float16:
        # At bit 0: 1024 + v, minus 1032 (0x6408). At bit 4: 1024 + 16 v, times 1/16 (0x2c00) minus 72
        # (0xd480).
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 t, c, p, q, r, s;
            shr.u32 t, $4, 8;
            lop3.b32 p, $4, 0x000f000f, 0x64006400, 0xea;
            lop3.b32 q, $4, 0x00f000f0, 0x64006400, 0xea;
            lop3.b32 r, t, 0x000f000f, 0x64006400, 0xea;
            lop3.b32 s, t, 0x00f000f0, 0x64006400, 0xea;
            mov.b32 c, 0x64086408;
            sub.f16x2 $0, p, c;
            sub.f16x2 $2, r, c;
            mov.b32 t, 0x2c002c00;
            mov.b32 c, 0xd480d480;
            fma.rn.f16x2 $1, q, t, c;
            fma.rn.f16x2 $3, s, t, c;
            }""",
            "=&r,=&r,=&r,=&r,r",
            args=[word],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )
    else:
        # 128 + v, minus 136 (0xc308); a code at bit 4 would not fit beside 128 in 7 bits, so each is shifted
        # down.
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 t, c, one, p, q, r, s;
            mov.b32 one, 0x3f803f80;
            mov.b32 c, 0xc308c308;
            lop3.b32 p, $4, 0x000f000f, 0x43004300, 0xea;
            shr.u32 t, $4, 4;
            lop3.b32 q, t, 0x000f000f, 0x43004300, 0xea;
            shr.u32 t, $4, 8;
            lop3.b32 r, t, 0x000f000f, 0x43004300, 0xea;
            shr.u32 t, $4, 12;
            lop3.b32 s, t, 0x000f000f, 0x43004300, 0xea;
            fma.rn.bf16x2 $0, p, one, c;
            fma.rn.bf16x2 $1, q, one, c;
            fma.rn.bf16x2 $2, r, one, c;
            fma.rn.bf16x2 $3, s, one, c;
            }""",
            "=&r,=&r,=&r,=&r,r",
            args=[word],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )


@triton.jit
def unpack_3(word, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """A word of 3-bit codes → 5 pairs. Stored v is code v - 4. Bit 15 of the fields is `unpack_3_last`'s."""
    if INTERPRET:
        return field_pairs(word, dtype, 3)
    elif dtype == tl.float16:
        # At bit 0: 1024 + v, minus 1028 (0x6404). At bit 3: 1024 + 8 v, times 1/8 (0x3000) minus 132
        # (0xd820). At bit 6: 1024 + 64 v, times 1/64 (0x2400) minus 20 (0xcd00).
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 t, a, c, p, q, r, s, u;
            shr.u32 t, $5, 9;
            lop3.b32 p, $5, 0x00070007, 0x64006400, 0xea;
            lop3.b32 q, $5, 0x00380038, 0x64006400, 0xea;
            lop3.b32 r, $5, 0x01c001c0, 0x64006400, 0xea;
            lop3.b32 s, t, 0x00070007, 0x64006400, 0xea;
            lop3.b32 u, t, 0x00380038, 0x64006400, 0xea;
            mov.b32 c, 0x64046404;
            sub.f16x2 $0, p, c;
            sub.f16x2 $3, s, c;
            mov.b32 a, 0x30003000;
            mov.b32 c, 0xd820d820;
            fma.rn.f16x2 $1, q, a, c;
            fma.rn.f16x2 $4, u, a, c;
            mov.b32 a, 0x24002400;
            mov.b32 c, 0xcd00cd00;
            fma.rn.f16x2 $2, r, a, c;
            }""",
            "=&r,=&r,=&r,=&r,=&r,r",
            args=[word],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )
    else:
        # As above, but only 6 bits fit: at bit 0: 128 + v, minus 132 (0xc304). At bit 3: 128 + 8 v, times 1/8
        # (0x3e00) minus 20 (0xc1a0).
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 t, a, c, p, q, r, s, u;
            lop3.b32 p, $5, 0x00070007, 0x43004300, 0xea;
            lop3.b32 q, $5, 0x00380038, 0x43004300, 0xea;
            shr.u32 t, $5, 6;
            lop3.b32 r, t, 0x00070007, 0x43004300, 0xea;
            lop3.b32 s, t, 0x00380038, 0x43004300, 0xea;
            shr.u32 t, $5, 12;
            lop3.b32 u, t, 0x00070007, 0x43004300, 0xea;
            mov.b32 a, 0x3f803f80;
            mov.b32 c, 0xc304c304;
            fma.rn.bf16x2 $0, p, a, c;
            fma.rn.bf16x2 $2, r, a, c;
            fma.rn.bf16x2 $4, u, a, c;
            mov.b32 a, 0x3e003e00;
            mov.b32 c, 0xc1a0c1a0;
            fma.rn.bf16x2 $1, q, a, c;
            fma.rn.bf16x2 $3, s, a, c;
            }""",
            "=&r,=&r,=&r,=&r,=&r,r",
            args=[word],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )


@triton.jit
def unpack_3_last(word0, word1, word2, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """Three words of 3-bit codes → the pair whose bit j is bit 15 of word j's fields."""
    if INTERPRET:
        low = ((word0 >> 15) & 1) | ((word1 >> 14) & 2) | ((word2 >> 13) & 4)
        high = ((word0 >> 31) & 1) | ((word1 >> 30) & 2) | ((word2 >> 29) & 4)
        return pair_of((low - 4).to(tl.float32), (high - 4).to(tl.float32), dtype)
    elif dtype == tl.float16:
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 a, b, c, p;
            shr.u32 a, $1, 15;
            shr.u32 b, $2, 14;
            shr.u32 c, $3, 13;
            lop3.b32 p, a, 0x00010001, 0x64006400, 0xea;
            lop3.b32 p, b, 0x00020002, p, 0xea;
            lop3.b32 p, c, 0x00040004, p, 0xea;
            mov.b32 c, 0x64046404;
            sub.f16x2 $0, p, c;
            }""",
            "=&r,r,r,r",
            args=[word0, word1, word2],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
    else:
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 a, b, c, p, one;
            shr.u32 a, $1, 15;
            shr.u32 b, $2, 14;
            shr.u32 c, $3, 13;
            lop3.b32 p, a, 0x00010001, 0x43004300, 0xea;
            lop3.b32 p, b, 0x00020002, p, 0xea;
            lop3.b32 p, c, 0x00040004, p, 0xea;
            mov.b32 one, 0x3f803f80;
            mov.b32 c, 0xc304c304;
            fma.rn.bf16x2 $0, p, one, c;
            }""",
            "=&r,r,r,r",
            args=[word0, word1, word2],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
