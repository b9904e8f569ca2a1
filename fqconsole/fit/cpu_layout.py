"""What a quantized matrix becomes on a CPU: torch's low-bit operators want a layout of their own.

    int8, one scale a row    K bytes a row and its scale
    int4, int3               half a byte a weight, and a scale and a zero of 2 B each for every group
    int8 in groups           the same with K doubled: high and low half of each code

Groups are padded to a multiple of 32 and rows to a multiple of 16; a channel is cut into the operator's
groups. Where torch has no vector code for it the matrix stays as it is stored. These are the forms of
kernels.cpu, which a test compares.
"""

from fqconsole.fit.host import cpu_has
from quantizer.scheme import Scheme, stored_bytes

VECTOR_FLAGS = frozenset({"avx2"})
OPERATOR_GROUPS = (256, 128, 64, 32)
PAIR_BYTES = 4  # scale and zero


def rearranges() -> bool:
    """True where generation on this CPU rearranges matrices.

    Whatever the model computes in, activations are rounded to bf16 for packed products.
    """
    return cpu_has(VECTOR_FLAGS)


def layout_bytes(shape: tuple[int, ...], scheme: Scheme) -> int:
    """Bytes of a matrix `[N, K]`, or of a stack `[E, N, K]`, rearranged for the CPU."""
    *stack, rows, k = shape
    copies = 1
    for size in stack:
        copies *= size
    return copies * _matrix_bytes(rows, k, scheme)


def preparing_bytes(shape: tuple[int, ...], scheme: Scheme) -> int:
    """Bytes beside both forms while a matrix, or an expert of a stack, is rearranged: its codes one by one,
    and as 32-bit integers for the operator's own packing.
    """
    rows, k = shape[-2:]
    if scheme.bits == 8:
        return rows * k if scheme.groups(k) == 1 else rows * k * 23 // 2
    return rows * k * 25 // 4


def _matrix_bytes(rows: int, k: int, scheme: Scheme) -> int:
    group = k if scheme.group_size is None else scheme.group_size
    padded = _up(group, 32)
    groups = scheme.groups(k)
    if scheme.bits == 8 and groups == 1:
        return rows * padded + rows * 2
    if scheme.bits == 8 and padded > group:  # would hold 16 bits a weight: kept as stored
        return stored_bytes((rows, k), scheme)
    operator_group = next(size for size in OPERATOR_GROUPS if padded % size == 0)
    length = groups * padded * (2 if scheme.bits == 8 else 1)
    return _up(rows, 16) * (length // 2 + length // operator_group * PAIR_BYTES)


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
