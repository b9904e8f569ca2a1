"""A kernel that only reads: the roof of everything that is bound by memory."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def read_kernel(source_ptr, sums_ptr, size, BLOCK: tl.constexpr, DEPENDENT: tl.constexpr):
    """sums[i] = Σ of the i-th BLOCK of int32 words; the sum keeps the compiler from leaving the read out.

    DEPENDENT: the next launch may start at once, and this one waits for the one before only to store.
    """
    if DEPENDENT:
        gdc_launch_dependents()
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    words = tl.load(source_ptr + place, mask=place < size, other=0, eviction_policy="evict_first")
    total = tl.sum(words)
    if DEPENDENT:
        gdc_wait()
    tl.store(sums_ptr + tl.program_id(0), total)
