"""PTX text that turns packed words into the left operand of a warpgroup's matrix unit, in registers.

A fragment of `wgmma` m64k16 is four registers a lane, each two 16-bit weights of neighbouring columns. In
lane order (`kernels.lane_layout`) the words that a lane loads hold exactly those pairs: 16 bits of codes for
the left weight of the pair below 16 bits for the right one. So one `lop3` cuts the same field out of both
halves and puts an exponent above it, which makes both floating-point numbers at once:

    word          | codes of e = 1 ......|..... codes of e = 0 |
    >> shift, & mask, | magic            | 2^x + code+half     | 2^x + code+half |
    - (2^x + half)                       | code                | code            |

The exponent is chosen so that the field's lowest bit stands for 1: 2^(10 - p) for a field at bit p in float16
(10 bits of mantissa), 2^(7 - p) in bfloat16 (7 bits); fields that would not fit are shifted down first.
"""

import functools
from dataclasses import dataclass

MANTISSA = {"fp16": 10, "bf16": 7}
ONE = {"fp16": 0x3C00, "bf16": 0x3F80}  # 1.0; the bits above the mantissa count powers of two
SUFFIX = {"fp16": "f16x2", "bf16": "bf16x2"}
WORDS = {8: 4, 4: 4, 3: 3}  # of a lane and fragment register, in one step
PLANES = {8: 8, 4: 16, 3: 16}  # fragments of a step
BLOCK = 64  # columns that the left operand of one product has
BLOCK_PLANES = 4  # their fragments


@dataclass(frozen=True)
class Field:
    """Where the codes of one plane stand: `word` of the lane's words, first bit in each 16-bit half."""

    word: int
    bit: int


def field_of(bits: int, plane: int) -> Field:
    """The field of `plane`; plane 15 of 3 bits has none, its bits are the top bits of the three words."""
    fields = 16 // bits
    return Field(plane // fields, plane % fields * bits)


def both(half: int) -> str:
    """The same 16 bits in both halves of a register."""
    return f"0x{half:04x}{half:04x}"


def magic_of(dtype: str, bit: int) -> int:
    """Upper bits of the number whose mantissa bit `bit` stands for 1: 2^(mantissa bits - bit)."""
    mantissa = MANTISSA[dtype]
    return ONE[dtype] + ((mantissa - bit) << mantissa)


def plane_text(bits: int, dtype: str, plane: int, words: list[str], out: str) -> list[str]:
    """Instructions that leave the codes of `plane` in `out` as two numbers; they may use t and u."""
    half = 1 << (bits - 1)
    suffix = SUFFIX[dtype]
    if bits == 3 and plane == 15:
        magic = magic_of(dtype, 0)
        return [
            f"shr.u32 t, {words[0]}, 15;",
            f"lop3.b32 {out}, t, {both(1)}, {both(magic)}, 0xea;",
            f"shr.u32 t, {words[1]}, 14;",
            f"lop3.b32 {out}, t, {both(2)}, {out}, 0xea;",
            f"shr.u32 t, {words[2]}, 13;",
            f"lop3.b32 {out}, t, {both(4)}, {out}, 0xea;",
            f"mov.b32 t, {both(magic | half)};",
            f"sub.{suffix} {out}, {out}, t;",
        ]
    field = field_of(bits, plane)
    word = words[field.word]
    if bits == 8 and dtype == "bf16":
        # 7 low bits: 128 + low. Top bit clear: minus 256 (0xc380), set: minus 128 (0xc300); the two differ in
        # bit 7, which is where the top bit of the code stands.
        return [
            f"shr.u32 t, {word}, {field.bit};",
            f"lop3.b32 {out}, t, {both(0x7F)}, {both(0x4300)}, 0xea;",
            f"lop3.b32 t, t, {both(0x80)}, {both(0xC380)}, 0x6a;",
            f"add.{suffix} {out}, {out}, t;",
        ]
    # Shifts are shared where they can be: the compiler sees equal ones.
    shift = next(
        s for s in (0, 6, 8, 4, 12, 16) if s <= field.bit and field.bit - s + bits <= MANTISSA[dtype]
    )
    bit = field.bit - shift
    magic = magic_of(dtype, bit)
    lines = [f"shr.u32 t, {word}, {shift};"] if shift else []
    source = "t" if shift else word
    return [
        *lines,
        f"lop3.b32 {out}, {source}, {both(((1 << bits) - 1) << bit)}, {both(magic)}, 0xea;",
        f"mov.b32 u, {both(magic | half << bit)};",
        f"sub.{suffix} {out}, {out}, u;",
    ]


@functools.cache  # many plans of one kind
def block_text(bits: int, dtype: str, block: int, scales: int, *, spread: bool = False) -> str:
    """PTX for `pack=8`: the 4 planes of 64 columns, `block` of the step, as 4 outputs of 4 registers each.

    Inputs after the 16 output registers: $16-$31 the words of the four fragment registers, word j of register
    r at $(16 + 8 (j // 2) + j % 2 + 2 r); then $32-$39, of which word i holds the scales of the rows g (low)
    and g + 8 (high) in group i of the step. `scales`: groups in a step, or 0 where the scale comes after the
    walk. `spread`: the scales are in both halves of a register already, of row g in $32 and row g + 8 in $33,
    and where a block has two groups, of the second in $36 and $37.
    """
    lines = ["{ .reg .b32 t, u, p, low0, high0, low1, high1;"]
    blocks = PLANES[bits] // BLOCK_PLANES
    if scales:
        per_block = max(1, scales // blocks)  # 2 for groups of 32
        first = block * scales // blocks
        for i in range(0 if spread else per_block):
            lines += [
                f"prmt.b32 low{i}, ${32 + first + i}, 0, 0x1010;",
                f"prmt.b32 high{i}, ${32 + first + i}, 0, 0x3232;",
            ]
    for register in range(4):
        words = [f"${16 + 8 * (word // 2) + word % 2 + 2 * register}" for word in range(WORDS[bits])]
        for i in range(BLOCK_PLANES):
            out = f"${4 * i + register}"
            lines += plane_text(bits, dtype, block * BLOCK_PLANES + i, words, "p" if scales else out)
            if scales:
                row = "high" if register % 2 else "low"
                group = i * per_block // BLOCK_PLANES
                scale = f"${32 + 4 * group + register % 2}" if spread else f"{row}{group}"
                lines.append(f"mul.{SUFFIX[dtype]} {out}, p, {scale};")
    return "\n".join([*lines, "}"])


def scales_text(count: int) -> str:
    """PTX for `pack=8`: `count` scale words of one step into the first registers, the others left at zero."""
    lines = ["{ .reg .b64 a, o; cvt.s64.s32 o, $16; add.s64 a, $8, o;"]
    width = min(4, count)
    for first in range(0, count, width):
        places = ", ".join(f"${first + i}" for i in range(width))
        vector = f".v{width}" if width > 1 else ""
        target = f"{{{places}}}" if width > 1 else places
        lines.append(f"ld.global.nc{vector}.b32 {target}, [a+{4 * first}];")
    lines += [f"mov.b32 ${i}, 0;" for i in range(count, 8)]
    return "\n".join([*lines, "}"])
