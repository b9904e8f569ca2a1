# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment,misc,var-annotated"
# ruff: noqa: PLR0917, RET505 — Triton compiles one branch of an `if` and takes many arguments
"""Device functions: how programs of the decode kernel share out all parts of all blocks evenly.

With whole blocks the last round may have few of them left: 896 blocks on 396 programs are 2.3 rounds, which
take as long as 3. Here program p of P takes the parts p U / P ... (p + 1) U / P of all U, so that a block may
lie across two or more programs:

    blocks     │   0   │   1   │   2   │   3   │   4   │      4 parts each
    programs   │  0   │  1   │  2   │  3   │  4  │ ...       each walks its blocks from the last one down
                          ← ←

The block that a program shares with the next one comes first: it leaves the sums of what it has for that one
and says so. The block that it shares with the one before comes last, when those sums have long been there; a
program waits only for one with a lower number, and those are never started later. Sums are added in the order
of K, so the result is the same bit for bit, however the programs run.
"""

import triton
import triton.language as tl

SUMS = tl.constexpr(128)  # of a fragment C, 64 for e = 0 and 64 for e = 1


@triton.jit
def share_of(program, units):
    """The first unit of this program's share; that of program + 1 is the end of it."""
    return (program.to(tl.int64) * units // tl.num_programs(0)).to(tl.int32)


@triton.jit
def block_after(block, begin, parts, STREAM: tl.constexpr):
    """The block that this program walks after `block`, and its first part there; `begin`: of its share."""
    if STREAM:
        return block - 1, tl.maximum(begin - (block - 1) * parts, 0)
    else:
        return block + tl.num_programs(0), block * 0


@triton.jit
def wait_for_sums(ready_ptr):
    """Until the program before has left its sums, which can be read past L1 then; ready for the next time."""
    mine = ready_ptr + (tl.program_id(0) - 1)
    there = tl.atomic_xchg(mine, 0, sem="acquire", scope="gpu")
    while there == 0:
        there = tl.atomic_xchg(mine, 0, sem="acquire", scope="gpu")


@triton.jit
def say_ready(ready_ptr):
    """The sums of this program are there."""
    tl.debug_barrier()  # the stores of every thread come first
    tl.atomic_xchg(ready_ptr + tl.program_id(0), 1, sem="release", scope="gpu")


@triton.jit
def exchange_sums(value, sums_ptr, missing, passed, which, COUNT: tl.constexpr):
    """`value` (what `sum_warps` gives) plus what the program before left, and left for the next one.

    `which` of COUNT such values a block has.
    """
    at = tl.arange(0, 64)
    mine = sums_ptr + (tl.program_id(0) * COUNT + which) * SUMS + at
    other = mine - COUNT * SUMS
    even = value[0] + tl.load(other, mask=missing & (at >= 0), other=0.0, cache_modifier=".cg")
    odd = value[1] + tl.load(other + 64, mask=missing & (at >= 0), other=0.0, cache_modifier=".cg")
    tl.store(mine, even, mask=passed & (at >= 0))
    tl.store(mine + 64, odd, mask=passed & (at >= 0))
    return even, odd
