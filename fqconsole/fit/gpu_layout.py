"""What a quantized matrix becomes on a GPU: lane order, the form that the Triton kernels multiply with.

    rows in tiles of 16, columns in steps of 128 (int8) or 256 (int4, int3); each step of a tile takes 16 rows
    of codes in exactly `bits` bits, padding included
    scales: 2 B for each row of a tile and each group in a step; a group longer than a step is there in every
    step, `channel` once for the whole row

Groups that are no multiple of 16, and GPUs before compute capability 8.0, keep the checkpoint's packing.
These are the shapes of kernels.lane_layout, which a test compares.
"""

import math

from quantizer.scheme import Scheme, stored_bytes

TILE_ROWS = 16
STEPS = {8: 128, 4: 256, 3: 256}  # columns
SMALLEST_GROUP = 16
SCALE_BYTES = 2


def lane_bytes(shape: tuple[int, ...], scheme: Scheme) -> int:
    """Bytes on the device of a matrix `[N, K]`, or of a stack `[E, N, K]` padded expert by expert."""
    return sum(lane_tensors(shape, scheme))


def lane_tensors(shape: tuple[int, ...], scheme: Scheme) -> tuple[int, int]:
    """The same, of its two tensors: words and scales."""
    group = scheme.group_size
    if group is not None and group % SMALLEST_GROUP:
        return stored_tensors(shape, scheme)
    *stack, rows, k = shape
    step = STEPS[scheme.bits]
    steps = -(-k // step)
    scales = 1 if group is None else steps * (step // math.gcd(group, step))
    filled = math.prod(stack) * -(-rows // TILE_ROWS) * TILE_ROWS
    return filled * steps * step * scheme.bits // 8, filled * scales * SCALE_BYTES


def stored_tensors(shape: tuple[int, ...], scheme: Scheme) -> tuple[int, int]:
    """Codes and scales as a checkpoint stores them, and as other GPUs hold them."""
    scales = math.prod(shape[:-1]) * scheme.groups(shape[-1]) * SCALE_BYTES
    return stored_bytes(shape, scheme) - scales, scales
