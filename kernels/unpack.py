# mypy: allow-untyped-defs, allow-incomplete-defs
# ruff: noqa: RET505 — Triton compiles one branch of an `if` and takes many arguments
"""Device functions: packed codes in registers → signed values in the activations' dtype, exactly.

Codes are taken apart into *planes*: plane i holds code i of every unit, so a plane has the shape of the
packed tensor and stays in the registers the packed tensor was in. That is what lets the matrix unit read
dequantized weights without a trip through shared memory.

    8 bits: a unit is an int16 with 2 codes  → 2 planes
    4 bits: a unit is an int16 with 4 codes  → 4 planes
    3 bits: a unit is an int32 with 8 codes in its low 24 bits → 8 planes

No conversion instruction is used: a code is placed into the mantissa of a power of two and the power is
subtracted.

    float16  0x6400 | v = 1024 + v   for v < 1024; a code at bit s of the mantissa reads as 1024 + v * 2^s
    bfloat16 0x4300 | v =  128 + v   for v <  128

One instruction works on two neighbouring elements at once (`pack=2`: a 32-bit register holds both). `lop3 …
0xea` is (a & b) | c, `0x6a` is (a & b) ^ c. In Triton's interpreter, which knows no PTX, INTERPRET takes
shifts instead and gives float32, because its `tl.dot` multiplies bfloat16 wrongly.
"""

import triton
import triton.language as tl


@triton.jit
def planes_of_8_bits(unit, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """int16 units → 2 planes. Stored byte v is code v - 128."""
    if INTERPRET:
        stored = unit.to(tl.int32)
        return ((stored & 255) - 128).to(tl.float32), (((stored >> 8) & 255) - 128).to(tl.float32)
    elif dtype == tl.float16:
        # prmt puts each byte under the byte 0x64: 1024 + v; minus 1152 (0x6480).
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 c;
            mov.b32 c, 0x64646464;
            prmt.b32 $0, $2, c, 0x4240;
            prmt.b32 $1, $2, c, 0x4341;
            mov.b32 c, 0x64806480;
            sub.f16x2 $0, $0, c;
            sub.f16x2 $1, $1, c;
            }""",
            "=&r,=&r,r",
            args=[unit],
            dtype=(tl.float16, tl.float16),
            is_pure=True,
            pack=2,
        )
    else:
        # 7 low bits: 128 + low (0x4300). Top bit clear: subtract 256 (0xc380), set: subtract 128 (0xc300);
        # the two constants differ in bit 7, which is where the top bit of the code stands.
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 t, m, one;
            mov.b32 one, 0x3f803f80;
            shr.u32 t, $2, 8;
            lop3.b32 $0, $2, 0x007f007f, 0x43004300, 0xea;
            lop3.b32 m, $2, 0x00800080, 0xc380c380, 0x6a;
            fma.rn.bf16x2 $0, $0, one, m;
            lop3.b32 $1, t, 0x007f007f, 0x43004300, 0xea;
            lop3.b32 m, t, 0x00800080, 0xc380c380, 0x6a;
            fma.rn.bf16x2 $1, $1, one, m;
            }""",
            "=&r,=&r,r",
            args=[unit],
            dtype=(tl.bfloat16, tl.bfloat16),
            is_pure=True,
            pack=2,
        )


@triton.jit
def planes_of_4_bits(unit, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """int16 units → 4 planes. Stored nibble v is code v - 8."""
    if INTERPRET:
        stored = unit.to(tl.int32)
        return (
            ((stored & 15) - 8).to(tl.float32),
            (((stored >> 4) & 15) - 8).to(tl.float32),
            (((stored >> 8) & 15) - 8).to(tl.float32),
            (((stored >> 12) & 15) - 8).to(tl.float32),
        )
    elif dtype == tl.float16:
        # Nibble at bit 0: 1024 + v, minus 1032 (0x6408). At bit 4: 1024 + 16 v, times 1/16 (0x2c00) minus 72
        # (0xd480).
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 t, c;
            shr.u32 t, $4, 8;
            lop3.b32 $0, $4, 0x000f000f, 0x64006400, 0xea;
            lop3.b32 $1, $4, 0x00f000f0, 0x64006400, 0xea;
            lop3.b32 $2, t, 0x000f000f, 0x64006400, 0xea;
            lop3.b32 $3, t, 0x00f000f0, 0x64006400, 0xea;
            mov.b32 c, 0x64086408;
            sub.f16x2 $0, $0, c;
            sub.f16x2 $2, $2, c;
            mov.b32 t, 0x2c002c00;
            mov.b32 c, 0xd480d480;
            fma.rn.f16x2 $1, $1, t, c;
            fma.rn.f16x2 $3, $3, t, c;
            }""",
            "=&r,=&r,=&r,=&r,r",
            args=[unit],
            dtype=(tl.float16, tl.float16, tl.float16, tl.float16),
            is_pure=True,
            pack=2,
        )
    else:
        # 128 + v, minus 136 (0xc308); a nibble at bit 4 would not fit beside 128 in 7 bits, so each is
        # shifted down.
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 t, c, one;
            mov.b32 one, 0x3f803f80;
            mov.b32 c, 0xc308c308;
            lop3.b32 $0, $4, 0x000f000f, 0x43004300, 0xea;
            shr.u32 t, $4, 4;
            lop3.b32 $1, t, 0x000f000f, 0x43004300, 0xea;
            shr.u32 t, $4, 8;
            lop3.b32 $2, t, 0x000f000f, 0x43004300, 0xea;
            shr.u32 t, $4, 12;
            lop3.b32 $3, t, 0x000f000f, 0x43004300, 0xea;
            fma.rn.bf16x2 $0, $0, one, c;
            fma.rn.bf16x2 $1, $1, one, c;
            fma.rn.bf16x2 $2, $2, one, c;
            fma.rn.bf16x2 $3, $3, one, c;
            }""",
            "=&r,=&r,=&r,=&r,r",
            args=[unit],
            dtype=(tl.bfloat16, tl.bfloat16, tl.bfloat16, tl.bfloat16),
            is_pure=True,
            pack=2,
        )


@triton.jit
def quarter_of_triple(word0, word1, word2, QUARTER: tl.constexpr):
    """Three uint32 words of 32 codes → a uint32 whose low 24 bits are codes 8*QUARTER … 8*QUARTER + 7."""
    if QUARTER == 0:
        return word0
    elif QUARTER == 1:
        return (word0 >> 24) | (word1 << 8)
    elif QUARTER == 2:
        return (word1 >> 16) | (word2 << 16)
    else:
        return word2 >> 8


@triton.jit
def planes_of_3_bits(unit, dtype: tl.constexpr, INTERPRET: tl.constexpr):
    """uint32 units, 8 codes in their low 24 bits → 8 planes. Stored v is code v - 4."""
    if INTERPRET:
        return (
            ((unit & 7).to(tl.int32) - 4).to(tl.float32),
            (((unit >> 3) & 7).to(tl.int32) - 4).to(tl.float32),
            (((unit >> 6) & 7).to(tl.int32) - 4).to(tl.float32),
            (((unit >> 9) & 7).to(tl.int32) - 4).to(tl.float32),
            (((unit >> 12) & 7).to(tl.int32) - 4).to(tl.float32),
            (((unit >> 15) & 7).to(tl.int32) - 4).to(tl.float32),
            (((unit >> 18) & 7).to(tl.int32) - 4).to(tl.float32),
            (((unit >> 21) & 7).to(tl.int32) - 4).to(tl.float32),
        )
    elif dtype == tl.float16:
        # Two units side by side: `low` holds bits 0-15 of both (codes 0-4), `high` bits 15-30 (codes 5-7). At
        # bit 0: 1024 + v, minus 1028 (0x6404). At bit 3: 1024 + 8 v, times 1/8 (0x3000) minus 132 (0xd820).
        # At bit 6: 1024 + 64 v, times 1/64 (0x2400) minus 20 (0xcd00).
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 low, high, a, b, c;
            prmt.b32 low, $8, $9, 0x5410;
            shr.u32 a, $8, 15;
            shr.u32 b, $9, 15;
            prmt.b32 high, a, b, 0x5410;
            lop3.b32 $0, low, 0x00070007, 0x64006400, 0xea;
            lop3.b32 $1, low, 0x00380038, 0x64006400, 0xea;
            lop3.b32 $2, low, 0x01c001c0, 0x64006400, 0xea;
            shr.u32 low, low, 9;
            lop3.b32 $3, low, 0x00070007, 0x64006400, 0xea;
            lop3.b32 $4, low, 0x00380038, 0x64006400, 0xea;
            lop3.b32 $5, high, 0x00070007, 0x64006400, 0xea;
            lop3.b32 $6, high, 0x00380038, 0x64006400, 0xea;
            lop3.b32 $7, high, 0x01c001c0, 0x64006400, 0xea;
            mov.b32 c, 0x64046404;
            sub.f16x2 $0, $0, c;
            sub.f16x2 $3, $3, c;
            sub.f16x2 $5, $5, c;
            mov.b32 a, 0x30003000;
            mov.b32 c, 0xd820d820;
            fma.rn.f16x2 $1, $1, a, c;
            fma.rn.f16x2 $4, $4, a, c;
            fma.rn.f16x2 $6, $6, a, c;
            mov.b32 a, 0x24002400;
            mov.b32 c, 0xcd00cd00;
            fma.rn.f16x2 $2, $2, a, c;
            fma.rn.f16x2 $7, $7, a, c;
            }""",
            "=&r,=&r,=&r,=&r,=&r,=&r,=&r,=&r,r,r",
            args=[unit],
            dtype=(
                tl.float16,
                tl.float16,
                tl.float16,
                tl.float16,
                tl.float16,
                tl.float16,
                tl.float16,
                tl.float16,
            ),
            is_pure=True,
            pack=2,
        )
    else:
        # As above, but only 6 bits fit: at bit 0: 128 + v, minus 132 (0xc304). At bit 3: 128 + 8 v, times 1/8
        # (0x3e00) minus 20 (0xc1a0).
        return tl.inline_asm_elementwise(
            """{
            .reg .b32 low, high, a, b, c;
            prmt.b32 low, $8, $9, 0x5410;
            shr.u32 a, $8, 15;
            shr.u32 b, $9, 15;
            prmt.b32 high, a, b, 0x5410;
            lop3.b32 $0, low, 0x00070007, 0x43004300, 0xea;
            lop3.b32 $1, low, 0x00380038, 0x43004300, 0xea;
            shr.u32 a, low, 6;
            lop3.b32 $2, a, 0x00070007, 0x43004300, 0xea;
            lop3.b32 $3, a, 0x00380038, 0x43004300, 0xea;
            shr.u32 a, low, 12;
            lop3.b32 $4, a, 0x00070007, 0x43004300, 0xea;
            lop3.b32 $5, high, 0x00070007, 0x43004300, 0xea;
            lop3.b32 $6, high, 0x00380038, 0x43004300, 0xea;
            shr.u32 a, high, 6;
            lop3.b32 $7, a, 0x00070007, 0x43004300, 0xea;
            mov.b32 a, 0x3f803f80;
            mov.b32 c, 0xc304c304;
            fma.rn.bf16x2 $0, $0, a, c;
            fma.rn.bf16x2 $2, $2, a, c;
            fma.rn.bf16x2 $4, $4, a, c;
            fma.rn.bf16x2 $5, $5, a, c;
            fma.rn.bf16x2 $7, $7, a, c;
            mov.b32 a, 0x3e003e00;
            mov.b32 c, 0xc1a0c1a0;
            fma.rn.bf16x2 $1, $1, a, c;
            fma.rn.bf16x2 $3, $3, a, c;
            fma.rn.bf16x2 $6, $6, a, c;
            }""",
            "=&r,=&r,=&r,=&r,=&r,=&r,=&r,=&r,r,r",
            args=[unit],
            dtype=(
                tl.bfloat16,
                tl.bfloat16,
                tl.bfloat16,
                tl.bfloat16,
                tl.bfloat16,
                tl.bfloat16,
                tl.bfloat16,
                tl.bfloat16,
            ),
            is_pure=True,
            pack=2,
        )
